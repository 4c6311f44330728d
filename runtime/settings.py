"""In which arithmetic a model may run. Loads no library."""

from typing import Literal

Precision = Literal["float32", "bfloat16", "int8"]
