"""`unskew audit`: its options, and what it prints. Parses nothing and measures nothing itself."""

from ..common import EXIT_BAD_ROWS, make_console, output_folder
from ..evaluation import AuditColumns


def command(
    predictions: list[str] | str,
    labels: list[str] | str,
    train: list[str] | str | None = None,
    output: str | None = None,
    columns: AuditColumns = AuditColumns(),  # noqa: B008 frozen
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Measure the skew of anyone's predictions.

    Args:
        predictions: Rows with an id and the predicted topic; the topics' probabilities are optional.
        labels: Rows with an id and the true topic; each prediction is measured against the label of its id.
        train: The training set behind the predictions: rows with a topic, or a JSON object {topic: count}.
            Without it there are no bands and no prior pull.
        output: A folder for audit.json and audit.png.
        columns: Names of the columns.
        seed: Random seed of the bootstrap.
        overwrite: Replace an existing output.
    """
    from ..evaluation import LEFT_OUT, print_audit
    from ..evaluation import audit as run

    result = run(predictions, labels, train, output, columns=columns, seed=seed, overwrite=overwrite)
    print_audit(result, make_console())
    if output is not None:
        print("written: " + ", ".join(str(path) for path in sorted(output_folder(output).iterdir())))
    return EXIT_BAD_ROWS if any(result.problems.get(name) for name in LEFT_OUT) else 0
