"""`fastlb bench`: one's own configuration beside HAProxy, nginx, Envoy and Caddy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

CELLS = "keepalive,close,browser,64k,latency50%,latency90%"


@click.command()
@click.option("-c", "--config", "file", required=True, type=click.Path(dir_okay=False), metavar="FILE")
@click.option(
    "--against", default="haproxy,nginx", metavar="NAMES", help="haproxy, nginx, envoy, caddy [haproxy,nginx]."
)
@click.option("--frontend", default="", metavar="NAME", help="Which one [the first].")
@click.option("--host", default="bench.example", metavar="NAME", help="Host of the requests [bench.example].")
@click.option("--path", default="", metavar="PATH", help="Of the requests, instead of each cell's own.")
@click.option("--cells", default=CELLS, metavar="NAMES", help=f"What is measured [{CELLS}].")
@click.option("--minutes", type=float, default=5.0, help="As long as this and no longer [5].")
@click.option(
    "--out", type=click.Path(file_okay=False), default="fastlb-bench", help="Folder of the report [fastlb-bench]."
)
def bench(file: str, against: str, frontend: str, host: str, path: str, cells: str, minutes: float, out: str) -> None:
    """Measure a configuration beside other load balancers, on this machine, with stand-ins for its servers.

    CPU a request by the kernel's accounting, requests a second, latency at fixed rates. The peers get the same servers,
    weights, order and log; what they are not told is listed. Needs `pip install "fastlb[bench]"`, nginx (it stands in
    for the servers) and the peers. Takes two cores for itself: on a busy machine the figures say little.
    """
    from .output import print_problems
    from .reading import read

    report = read(file)
    print_problems(report.errors)
    if report.spec is None:
        sys.exit(2)
    try:
        import hdrh.histogram  # noqa: F401
    except ImportError:
        raise click.ClickException('fastlb bench needs what `pip install "fastlb[bench]"` brings') from None
    from fastlb.bench.compare import own
    from fastlb.bench.process import unwind_on_term

    unwind_on_term()
    cores = sorted(os.sched_getaffinity(0))
    peers = ("fastlb", *(name for name in against.split(",") if name))
    try:
        page = own(
            Path(file).read_text(),
            peers,
            cells.split(","),
            minutes,
            Path(out),
            (cores[-1], cores[0]),
            frontend=frontend,
            host=host,
            path=path,
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"report: {page}")
