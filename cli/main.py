"""The command line: `unskew COMMAND --option ...`, or `--config FILE`.

Knows argument parsing, exit codes and final messages; other modules do the work. Only the called command's parser and
libraries are loaded, because importing the models' libraries takes seconds.

Exit codes: 0 done; 1 a bug in unskew; 2 invalid input or options; 3 done, but some rows could not be processed; 4 done,
but a threshold of `predict` was exceeded; 128 + the number of the signal that interrupted it: 130 Ctrl-C, 143 SIGTERM,
129 SIGHUP (the terminal was closed).
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, is_dataclass
from importlib import import_module
from itertools import takewhile
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from ..common import PipeSafeStream, Terminated, UserError, check_system, flush_or_drop
from .help import help_text
from .job import run as run_job
from .logs import log_plainly, say
from .old_names import with_new_names
from .refusals import as_user_error, refuse_huge
from .settings_argument import NAME, gathered, settings_of

COMMANDS = {
    "inspect": "inspect records before a fit: problems, and what to expect",
    "fit": "fit both stages and write a bundle",
    "predict": "predict topics and write outputs for a file of texts",
    "evaluate": "evaluate a bundle on labelled rows",
    "compare": "compare two evaluations on the same rows",
    "tune": "search settings of stage 1 on held-out rows",
    "ablate": "compare the hybrid with the decoder alone, cure by cure",
    "audit": "measure the skew of anyone's predictions",
    "export": "export a bundle: transformers, ONNX, OpenVINO, GGUF",
    "serve": "serve bundles over HTTP, with a page to try them",
    "synthesise": "write synthetic rows for rare topics",
    "newsroom": "make the synthetic corpus with a known best classifier",
}
JOB = "job"  # takes positional words, no options
RESUMABLE = ("ablate", "fit", "predict", "tune")
USAGE = "usage: unskew COMMAND [--help] [--config FILE] [--option VALUE ...]\n\ncommands:\n" + "\n".join(
    f"  {name:<10} {what}" for name, what in {**COMMANDS, JOB: "show the state of a job: job status OUTPUT"}.items()
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code, whether or not anybody reads what it prints."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with redirect_stdout(PipeSafeStream(sys.stdout)), redirect_stderr(PipeSafeStream(sys.stderr)):
            code = _exit_code(given)
    finally:
        flush_or_drop()
    sys.exit(code)


def _exit_code(given: Sequence[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if given else 2
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"unskew {version('unskew')}")
        return 0
    if given[0] not in (*COMMANDS, JOB):
        print(f"unskew: there is no command {given[0]!r}; give one of {', '.join((*COMMANDS, JOB))}", file=sys.stderr)
        return 2
    _quiet()
    try:
        check_system()
        return run_job(given[1:]) if given[0] == JOB else _run(given[0], given[1:])
    except UserError as error:
        say(str(error))
        return 2
    except KeyboardInterrupt as interruption:
        remedy = "run the same command again to resume" if given[0] in RESUMABLE else "nothing was written"
        say(f"interrupted; {remedy}")
        return interruption.exit_code if isinstance(interruption, Terminated) else 130


def make_parser(command: str) -> tuple[ArgumentParser, Callable[..., int]]:
    """The parser of one command, made from its function, and the function; `--config FILE` gives options as YAML."""
    function = import_module(f".{command}", __package__).command
    usage = f"unskew {command} [--option VALUE ...] [--config FILE]; its options: unskew {command} --help"
    parser = ArgumentParser(prog=f"unskew {command}", usage=usage, add_help=False, exit_on_error=False)
    parser.add_argument("--config", action="config", help="A YAML file of these options; later options win.")
    shape = settings_of(function)
    parser.add_function_arguments(function, skip={NAME} if shape else None)
    if shape is not None:
        parser.add_class_arguments(shape)
    for action in parser._actions:  # `--switch` alone turns a switch on; in a file it is `switch: true`
        if action.default is False and action.nargs is None:
            action.nargs, action.const = "?", True
    return parser, function


def _help(command: str) -> str:
    module = import_module(f".{command}", __package__)
    return help_text(command, COMMANDS[command], module.command, getattr(module, "MOST_USED", ()))


def _run(command: str, arguments: Sequence[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        print(_help(command), end="")
        return 0
    parser, function = make_parser(command)
    named = with_new_names([_underscored(argument) for argument in _named(command, arguments)])
    given = _appending(named, function)
    asked = [argument for argument in given if argument != "--print_config"]
    options = _parsed(command, parser, function, asked)
    options.pop("config")
    if asked != given:
        print(_as_yaml(options), end="")
        return 0
    return function(**gathered(function, options))


def _parsed(command: str, parser: ArgumentParser, function: Callable[..., int], arguments: list[str]) -> dict[str, Any]:
    try:
        parsed = parser.parse_args(arguments)
        refuse_huge(parsed.items())
        return vars(parser.instantiate(parsed))
    except (Exception, SystemExit) as error:
        refusal = as_user_error(error, command, function)
        if refusal is None:
            raise
        raise refusal from error


def _as_yaml(options: dict[str, Any]) -> str:
    """The options in the form of `--config`, with defaults for a base or a model from scratch filled in."""
    return yaml.safe_dump(_plain(options), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return asdict(_resolved(value)) if is_dataclass(value) else value


def _resolved(settings: Any) -> Any:
    return settings.resolved() if hasattr(settings, "resolved") else settings


def _named(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments, with names added to leading positional ones as in this command."""
    names = getattr(import_module(f".{command}", __package__), "POSITIONAL", ())
    bare = list(takewhile(lambda argument: not argument.startswith("-"), arguments))[: len(names)]
    return [*(f"--{name}={given}" for name, given in zip(names, bare, strict=False)), *arguments[len(bare) :]]


def _underscored(argument: str) -> str:
    """`--top-k=3` as `--top_k=3`: both spellings of an option are understood."""
    name, equals, value = argument.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if name.startswith("--") else argument


def _appending(arguments: Sequence[str], function: Callable[..., int]) -> list[str]:
    """`--model A --model B` as `--model A --model+ B`: an option that takes a list may be given more than once."""
    shape = settings_of(function)
    hints = get_type_hints(function) | (get_type_hints(shape) if shape else {})
    lists = {f"--{n}" for n, hint in hints.items() if any(get_origin(kind) is list for kind in (hint, *get_args(hint)))}
    seen: set[str] = set()
    made = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        made.append(f"{name}+{equals}{value}" if name in lists & seen else argument)
        seen.add(name)
    return made


def _quiet() -> None:
    """Log our own lines plainly, and only those of the libraries that a user can act on."""
    log_plainly()
    logging.getLogger("unskew").setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric", "huggingface_hub", "rouge_score", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: False)
    for module in (r"lightning\..*", r"transformers\..*", r"peft\..*"):
        warnings.filterwarnings("ignore", module=module)
    quiet: dict[str, Any] = {
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
