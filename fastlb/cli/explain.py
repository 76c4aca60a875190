"""`fastlb explain`: the text for people."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from .output import print_problems, safe, state, table


def offline(
    file: str, method: str, url: str, fields: tuple[tuple[str, str], ...], client: str, frontend: str
) -> dict[str, Any]:
    """The explanation that a configuration file gives; ends the program when there is none."""
    from fastlb.control.explain import explain_offline
    from fastlb.control.names import Answer
    from fastlb.control.question import Question, QuestionError
    from fastlb.control.resolve import resolve
    from fastlb.discovery.members import Discovery

    from .reading import read

    report = read(file)
    print_problems(report.errors)
    if report.spec is None:
        sys.exit(2)
    try:
        question = Question(method, url, fields, client, frontend)
        answers: dict[str, Answer] = {}
        spec, _ = asyncio.run(resolve(report.spec, answers=answers))
        discovery = Discovery(lambda server: False)
        discovery.note(answers)
        spec = discovery.plan(spec, spec).spec
        return dataclasses.asdict(explain_offline(spec, question))
    except QuestionError as error:
        raise click.UsageError(str(error)) from error


def explained(told: Mapping[str, Any]) -> Iterator[str]:
    """The lines of an explanation, as the API gives it."""
    good = told["outcome"] in ("proxied", "redirected", "answered")
    status = f" ({told['status']})" if told["status"] and str(told["status"]) not in told["text"] else ""
    yield (
        click.style(f"{told['outcome']}{status}", fg="green" if good else "red", bold=True) + f": {safe(told['text'])}"
    )
    yield ""
    trusted = ", whose own forwarding headers are believed" if told["trusted"] else ""
    yield f"{_label('frontend')}{safe(told['frontend'])} on {safe(told['listen'])}, client {told['client']}{trusted}"
    if told["route"]:
        yield f"{_label('route')}{safe(told['route'])}"
    for passed in told["passed"]:
        yield f"{_label('')}not {safe(passed['route'])}: {safe('; '.join(passed['why']))}"
    if told["passed_more"]:
        yield f"{_label('')}nor {told['passed_more']} more before it"
    if told["auth"]:
        yield f"{_label('auth')}{safe(told['auth'])}; whether it would let this one through is not looked at"
    if told["mirror"]:
        yield f"{_label('mirror')}a copy goes to {safe(told['mirror'])}"
    if told["rate_limits"]:
        yield f"{_label('rate limits')}{told['rate_limits']} count it; whether one is used up is not looked at"
    for number, rule in enumerate(told["rules"]):
        owner = f"{rule['owner']}{', response' if rule['message'] == 'response' else ''}"
        yield f"{_label('rules' if number == 0 else '')}{safe(owner)}: {safe(rule['what'])}"
    if told["head"]:
        yield ""
        yield from _heads(told)
    if told["balance"]:
        yield ""
        yield from _balance(told["balance"], live=told["live"])


def _label(text: str) -> str:
    return click.style(f"{text:<12}", bold=True)


def _heads(told: Mapping[str, Any]) -> Iterator[str]:
    """The head before, and after where the server's differs: '-' for lines that go, '+' for lines that come."""
    before = told["head"].replace("\r\n", "\n").rstrip("\n").split("\n")
    if told["answer"]:
        for line in told["answer"].split("\n"):
            yield f"  {safe(line)}"
        return
    after = told["sent"].split("\n") if told["sent"] else before
    rest = list(after)
    for line in before:
        if line in rest:
            rest.remove(line)
            yield f"  {safe(line)}"
        else:
            yield click.style(f"- {safe(line)}", fg="red")
    for line in rest:
        yield click.style(f"+ {safe(line)}", fg="green")


def _balance(told: Mapping[str, Any], *, live: bool) -> Iterator[str]:
    note = "" if live else " (a configuration that does not run: servers taken as up and idle)"
    yield f"{_label('backend')}{safe(told['backend'])}, {told['algorithm']}{note}"
    if told["key_of"]:
        key = f"{told['key']!r}, hash {told['hash']}" if told["key"] is not None else "none in this request"
        yield f"{_label('key')}{told['key_of']}: {safe(key)}"
    if told["panic"]:
        yield click.style(f"{_label('panic')}too few servers are healthy, so health is not looked at", fg="red")
    if told["tier"] not in ("primary", "backup"):
        yield f"{_label('tiers')}{safe(told['tier'])}"
    rows = [
        (
            "→" if one["picked"] else "",
            safe(one["name"]),
            state(one["state"]),
            f"{one['effective_weight']:g}" + (" backup" if one["backup"] else ""),
            f"{one['in_flight']}{'/' + str(one['limit']) if one['limit'] else ''}",
            "" if one["score"] is None else f"{one['score']:.4g}",
            f"{one['share']:.0%}" if one["share"] else "",
            safe(one["why"]),
        )
        for one in told["servers"]
    ]
    head = ("", "server", "state", "weight", "in flight", "score", "share", "why")
    yield from table(head, rows, right=("in flight", "score", "share"))
    if told["retries"]:
        yield f"if it fails: {safe(', then '.join(told['retries']))}"
