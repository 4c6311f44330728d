"use strict";
{
  const body = document.querySelector("#arms tbody");
  const given = [...body.rows];
  const arms = given.filter((row) => row.dataset.arm !== undefined);
  const heads = document.querySelectorAll("#arms thead th");
  const figure = (row, place) => {
    const value = row.cells[place + 1].dataset.value;
    return value === "" ? null : Number(value);
  };
  const sorted = (place, up) =>
    [...arms].sort((one, other) => {
      const [a, b] = [figure(one, place), figure(other, place)];
      // What was not measured comes last in either order.
      if (a === null || b === null) return (a === null) - (b === null);
      return up ? a - b : b - a;
    });
  for (const head of heads) {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      for (const other of heads) other.setAttribute("aria-sort", "none");
      if (button.dataset.sort === "group") {
        body.replaceChildren(...given);
        return;
      }
      const turned = before === "ascending" ? "descending" : "ascending";
      const order = before === "none" ? button.dataset.first : turned;
      head.setAttribute("aria-sort", order);
      body.replaceChildren(...sorted(Number(button.dataset.sort), order === "ascending"));
    });
  }
}
