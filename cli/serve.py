"""`unskew serve`: its options. Parses nothing and loads no model before it must."""

from ..runtime import Precision
from ..serving import ServingLimits, Stage

MOST_USED = ("model", "port", "host", "stage", "device")


def command(
    model: list[str] | str,
    stage: Stage = "both",
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str | None = None,
    precision: Precision | None = None,
    limits: ServingLimits = ServingLimits(),  # noqa: B008 frozen
) -> int:
    """Serve bundles over HTTP, with a page at /.

    Args:
        model: A bundle: a folder, or its id on the hub. Give the option again to serve another bundle beside it.
        stage: Stages to serve: both, or encoder for topics alone.
        host: Address to listen at; 0.0.0.0 for every network of this machine. There is no password.
        port: Port to listen at; 0 takes a free one.
        device: Device: cpu, cuda, cuda:1, ...; by default a GPU if there is one.
        precision: Precision: float32, bfloat16, or on a CPU int8 (of the decoder, if any); by default by the device.
        limits: Limits on requests.
    """
    from ..serving import serve

    models = [model] if isinstance(model, str) else model
    serve(models, stage=stage, host=host, port=port, device=device, precision=precision, limits=limits)
    return 0
