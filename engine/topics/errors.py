"""Errors about deleted and re-created topics, with their ids and the ways to continue."""

from __future__ import annotations

from ..errors import Fatal

__all__ = ["created_again", "deleted"]


def created_again(app_id: str, kind: str, topic: str, known: str, found: str) -> Fatal:
    """Make the error for a topic that is not the one of the committed offsets or the state."""
    if kind == "changelog":
        return Fatal(
            f"the changelog topic {topic!r} was deleted and created again: the state is of the topic with id "
            f"{known or 'unknown'}, the topic of this name has id {found}. To process the inputs again from their "
            f"beginning, stop all instances and run `tidemill reset {app_id}`. To continue with the state in the new "
            f"topic, run `tidemill reset {app_id} --topic {topic}`"
        )
    return Fatal(
        f"the {kind} topic {topic!r} was deleted and created again: the committed offsets are of the topic with id "
        f"{known}, the topic of this name has id {found}. To read the new topic from its beginning and keep the state, "
        f"stop all instances and run `tidemill reset {app_id} --topic {topic}`. To process all inputs again from their "
        f"beginning, run `tidemill reset {app_id}`"
    )


def deleted(app_id: str, kind: str, topic: str, known: str) -> Fatal:
    """Make the error for a topic that was deleted while the program runs."""
    what = f"the {kind} topic {topic!r}{f' (id {known})' if known else ''} does not exist any more"
    reset = f"run `tidemill reset {app_id}`"
    match kind:
        case "output":
            return Fatal(f"{what}. Create it again and restart the program: uncommitted input is processed again")
        case "repartition":
            return Fatal(
                f"{what}: it was deleted while the program ran, and its unprocessed records are "
                f"lost. To process the inputs again from their beginning, stop all instances and {reset}. The next "
                "start without this command creates the topic again and continues without those records"
            )
        case "changelog":
            return Fatal(
                f"{what}: it was deleted while the program ran, and the state in it is lost. To rebuild it from "
                f"the inputs, stop all instances and {reset}"
            )
        case _:
            return Fatal(
                f"{what}. Create it again, or remove it from the program. Then, to read the new topic from its "
                f"beginning and keep the state, stop all instances and run `tidemill reset {app_id} --topic {topic}`; "
                f"to process all inputs again from their beginning, {reset}"
            )
