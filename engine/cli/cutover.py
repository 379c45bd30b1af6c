"""`tidemill cutover`: lets a shadow take the place of its application."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import click

from ..clock import SYSTEM
from ..config.settings import Settings
from ..cutover.group_transaction import GroupTransaction
from ..cutover.switch import Cutover, Switched
from ..errors import ConfigError
from ..kafka.options import admin_options, producer_options
from ..kafka.topics import Topics
from .admin import KAFKA, explain_unreachable, groups_of, timeout_option
from .compare import NEW, OLD, settings_of_one
from .progress import ProgressLine
from .run import GroupedCommand, settings_options
from .savepoint import print_json, storage_of, translate_storage_errors, when
from .savepoint_start import DRY_RUN

__all__ = ["cutover"]


@click.command(cls=GroupedCommand)
@OLD
@NEW
@DRY_RUN
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--undo", is_flag=True, help="Give up a cut-over that was interrupted: both go on as before.")
@timeout_option(120.0, "How long to try.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@settings_options(*KAFKA, "snapshots")
def cutover(
    old: str, new: str, dry_run: bool, yes: bool, undo: bool, timeout: float, as_json: bool, **options: Any
) -> None:
    """Let a shadow take the place of its application, while both run.

    OLD and NEW are MODULE:APP, or application ids; NEW was forked from OLD with --follow. Each input is in the output
    of exactly one version: OLD processes all inputs before a position of each partition and stops for good, and NEW
    writes to the output topics from there on. If the command is interrupted, call it again.
    """
    settings, shadow = settings_of_one(old, options), settings_of_one(new, options).app_id
    with (
        explain_unreachable(settings),
        translate_storage_errors(),
        ProgressLine() as progress,
        transaction_of(settings, shadow) as transaction,
    ):
        topics = Topics(admin_options(settings), settings.connect_timeout / 1000)
        switch = Cutover(
            storage_of(settings),
            settings.app_id,
            shadow,
            groups_of(settings),
            topics,
            transaction,
            SYSTEM,
            progress.say,
        )
        stage = switch.stage()
        if undo:
            if stage != "standing":
                raise ConfigError(f"no cut-over from {settings.app_id} to {shadow} is under way: nothing to undo")
            if not dry_run:
                switch.undo()
            show(Switched(done=False, undone=not dry_run), settings.app_id, shadow, as_json=as_json)
            return
        if dry_run:
            if stage == "ready":
                switch.check(int(timeout * 1000))
            show_stage(stage, settings.app_id, shadow, as_json=as_json)
            return
        if stage == "ready" and not (yes or as_json):
            click.echo(f"{shadow} takes the place of {settings.app_id}, which cannot be started again after that")
            click.confirm("Do it?", abort=True)
        found = switch.run(int(timeout * 1000))
    show(found, settings.app_id, shadow, as_json=as_json)


@contextmanager
def transaction_of(settings: Settings, new: str) -> Generator[GroupTransaction]:
    """Make the transactions of the command."""
    made = GroupTransaction(producer_options(settings), settings.app_id, new)
    try:
        yield made
    finally:
        made.close()


def show_stage(stage: str, old: str, new: str, *, as_json: bool) -> None:
    """Print what a command would do."""
    words = {
        "ready": f"{new} can take the place of {old}",
        "standing": f"a cut-over from {old} to {new} was interrupted: it would be undone, and made again",
        "switched": f"{new} has taken the place of {old}: there is nothing to do",
    }
    if as_json:
        print_json({"old": old, "new": new, "done": stage == "switched", "stage": stage})
    else:
        click.echo(words[stage])


def show(found: Switched, old: str, new: str, *, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        positions = [{"topic": topic, "partition": number, "offset": at} for (topic, number), at in found.ordered]
        print_json(
            {
                "old": old,
                "new": new,
                "done": found.done,
                "earlier": found.earlier,
                "undone": found.undone,
                "at": found.at,
                "pause_ms": found.pause_ms,
                "answered": found.answered,
                "positions": positions,
            }
        )
    elif found.earlier:
        click.echo(f"{new} has taken the place of {old} before: there is nothing to do")
    elif not found.done:
        click.echo(f"{old} and {new} go on as before" if found.undone else "an interrupted cut-over would be undone")
    else:
        for (topic, number), at in found.ordered:
            click.echo(f"topic {topic}, partition {number}: {new} from offset {at:,} on")
        click.echo(
            f"{new} has taken the place of {old} at {when(found.at)}; the pause was {found.pause_ms / 1000:.1f} s"
        )
        if not found.answered:
            click.echo(f"some processes of {new} have not answered: they go on when they run again")
        click.echo(f"the processes of {old} have stopped, and do not start again; `tidemill reset {old}` removes it")
