"""Names of the arithmetic that a model may run in. Loads no library."""

from typing import Literal

Precision = Literal["float32", "bfloat16", "int8"]
