"""Opens the socket, loads the models, and takes requests until a SIGTERM. Knows uvicorn, but no route."""

import logging
import signal
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from ..common import UserError
from ..runtime import Precision
from .settings import ServingLimits, Stage

log = logging.getLogger("unskew")

BACKLOG = 2048


def serve(
    models: Sequence[str],
    *,
    stage: Stage = "both",
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str | None = None,
    precision: Precision | None = None,
    limits: ServingLimits | None = None,
) -> None:
    """Serve bundles until a SIGTERM or SIGINT; running requests are then finished.

    Args:
        models: Folders, or ids on the hub; the first answers requests that name none.
        stage: "encoder" loads and serves stage 1 alone.
        host: The address to listen at.
        port: The port; 0 takes a free one.
        device: Where the models go; None takes a GPU if there is one.
        precision: Precision of the arithmetic, see `HybridPipeline.from_pretrained`.
        limits: Limits on requests.

    Raises:
        UserError: If the extra is not installed, the port is taken, or a bundle cannot be loaded.
    """
    try:
        import uvicorn

        from .app import make_app
        from .metrics import ServerMetrics
    except ImportError as error:
        raise UserError(f"serving needs {error.name}; run pip install 'unskew[serve]'") from error
    from .systems import load_systems

    limits, metrics = limits or ServingLimits(), ServerMetrics()
    with listening(host, port) as found:  # before the models load, so that a port in use is reported at once
        systems = load_systems(models, limits, stage, device, precision)
        config = uvicorn.Config(
            make_app(systems, limits, metrics),
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=max(1, round(limits.drain)),
        )
        shown = f"[{host}]" if ":" in host else host
        names = ", ".join(system.name for system in systems)
        log.info("serving %s at http://%s:%d; Ctrl-C ends", names, shown, found.getsockname()[1])
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        with _signals_end_nothing_else():
            uvicorn.Server(config).run(sockets=[found])


@contextmanager
def listening(host: str, port: int) -> Generator[socket.socket]:
    """A socket that listens.

    Raises:
        UserError: If this machine does not have the address, or the port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen at {host}, port {port}: {reason}; give another --port or --host") from error
    with made:
        # asyncio does this only where it opens the socket itself. Connections inherit it; without it the body of an
        # answer waits for the client to acknowledge the head, which takes Linux 40 ms.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield made


@contextmanager
def _signals_end_nothing_else() -> Generator[None]:
    """Ignore the signal that uvicorn sends itself again after its shutdown; the command ends by itself."""
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, lambda *_: None) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
