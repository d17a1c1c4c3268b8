"""The command `umbrella`.

Owns: the command line, reading the environment, and how errors are shown. Leaves to others: what the commands do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence

from . import __version__, load, manifest, program, yaml
from .errors import UmbrellaError
from .kubectl import Cluster
from .places import Place

_EXAMPLES = """\
examples:
  umbrella run app.py                    run the topology of app.py here
  umbrella run app.py -- --workers 3     in three processes; what follows `--` goes to `waterspout run`
  umbrella yaml app.py                   its manifest, with the code inside
  umbrella deploy app.py -n shop         apply it to a cluster
  umbrella logs app.py -f
  umbrella delete app.py
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    passed_on: list[str] = []
    if "--" in given:
        cut = given.index("--")
        given, passed_on = given[:cut], given[cut + 1 :]
    args = _parser().parse_args(given)
    try:
        code: int = args.do(args, passed_on)
        return code
    except UmbrellaError as error:
        _show(error)
        return 1
    except KeyboardInterrupt:
        return 130
    except (SyntaxError, Exception) as error:
        if not _show_of_app(error):
            raise
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="umbrella",
        description="Waterspout topologies in Python.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"umbrella {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a topology on this machine")
    _app(run)
    run.add_argument("--waterspout", metavar="PATH", help="the program `waterspout`")
    run.set_defaults(do=_run)

    show = commands.add_parser("yaml", help="print the manifest, with the code in a ConfigMap")
    _app(show)
    show.set_defaults(do=_yaml)

    deploy = commands.add_parser("deploy", help="apply a topology and its code to a cluster, with kubectl")
    _app(deploy)
    _cluster_flags(deploy)
    deploy.add_argument("--dry-run", action="store_true", help="let the cluster check it and change nothing")
    deploy.set_defaults(do=_deploy)

    logs = commands.add_parser("logs", help="show what the workers of a topology log")
    logs.add_argument("app", metavar="APP", help="the app's file, or the name of a topology")
    _cluster_flags(logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")
    logs.add_argument("--tail", type=int, metavar="LINES", help="only the last lines of each worker")
    logs.set_defaults(do=_logs)

    delete = commands.add_parser("delete", help="remove a topology and its code from a cluster")
    delete.add_argument("app", metavar="APP", help="the app's file, or the name of a topology")
    _cluster_flags(delete)
    delete.set_defaults(do=_delete)
    return parser


def _app(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "app", metavar="APP", help="the file that defines the topology; `app.py:Name` if it has several"
    )


def _cluster_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--namespace", metavar="NAME", help="the namespace; that of kubectl's context if absent")
    parser.add_argument("--context", metavar="NAME", help="the cluster; kubectl's current context if absent")


def _run(args: argparse.Namespace, passed_on: list[str]) -> int:
    found = program.find(args.waterspout, os.environ)
    app = load.load(args.app)
    text = yaml.documents(manifest.local(app))
    # Relative paths of an app start at its folder.
    folder = os.path.dirname(app.file)
    environment = {**os.environ, "PYTHONPATH": _python_path()}
    running = subprocess.Popen(
        [found, "run", "-", *passed_on], stdin=subprocess.PIPE, cwd=folder, env=environment, text=True
    )
    assert running.stdin is not None
    try:
        running.stdin.write(text)
        running.stdin.close()
    except BrokenPipeError:
        # It says itself why it ended.
        pass
    while True:
        try:
            return running.wait()
        except KeyboardInterrupt:
            # It has been interrupted, too, and works off what is in flight.
            continue


def _python_path() -> str:
    """Where the children find this package, wherever it was imported from here."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    there = os.environ.get("PYTHONPATH")
    return here if not there else f"{here}{os.pathsep}{there}"


def _yaml(args: argparse.Namespace, passed_on: list[str]) -> int:
    _none(passed_on)
    sys.stdout.write(yaml.documents(manifest.portable(load.load(args.app))))
    return 0


def _deploy(args: argparse.Namespace, passed_on: list[str]) -> int:
    _none(passed_on)
    _cluster(args).deploy(manifest.portable(load.load(args.app)), dry_run=args.dry_run)
    return 0


def _logs(args: argparse.Namespace, passed_on: list[str]) -> int:
    _none(passed_on)
    return _cluster(args).logs(_name(args.app), follow=args.follow, lines=args.tail)


def _delete(args: argparse.Namespace, passed_on: list[str]) -> int:
    _none(passed_on)
    _cluster(args).delete(_name(args.app))
    return 0


def _name(app: str) -> str:
    """The topology that is meant: an app's, or the one with this name."""
    return load.load(app).topology.name if ".py" in app else app


def _none(passed_on: list[str]) -> None:
    if passed_on:
        raise UmbrellaError(f"only `umbrella run` takes something after `--`, not '{passed_on[0]}'")


def _cluster(args: argparse.Namespace) -> Cluster:
    flags = [
        *(["--context", args.context] if args.context else []),
        *(["-n", args.namespace] if args.namespace else []),
    ]
    return Cluster(flags, os.environ, _say)


def _say(text: str) -> None:
    if text:
        print(text, flush=True)


def _show(error: UmbrellaError) -> None:
    where = "" if error.place is None else f"{error.place}: "
    print(f"{where}error: {error.message}", file=sys.stderr)
    if error.place is not None and error.place.source():
        print(f"    {error.place.source()}", file=sys.stderr)


def _show_of_app(error: Exception) -> bool:
    """Shows an error of the app itself without what this package did before; whether it was one."""
    if isinstance(error, SyntaxError):
        place = Place(error.filename or "?", error.lineno or 0)
        _show(UmbrellaError(f"{error.msg}", place))
        return True
    here = os.path.dirname(os.path.abspath(__file__)) + os.sep
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((here, "<frozen "))]
    is_of_app = any("importlib" in frame.filename for frame in frames) and bool(own)
    if is_of_app:
        shown = [frame for frame in own if "importlib" not in frame.filename]
        print("error: the app cannot be imported", file=sys.stderr)
        print("".join(traceback.format_list(shown)), end="", file=sys.stderr)
        print("".join(traceback.format_exception_only(type(error), error)), end="", file=sys.stderr)
    return is_of_app


if __name__ == "__main__":
    sys.exit(main())
