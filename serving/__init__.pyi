from .app import make_app
from .server import serve
from .settings import ServingLimits, Stage
from .systems import ServedSystem, load_systems

__all__ = ["ServedSystem", "ServingLimits", "Stage", "load_systems", "make_app", "serve"]
