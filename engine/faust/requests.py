"""Requests of `ask`, `map` and `join`, which are refused within events.

An event is committed when its agent is done with it, and what it sends is in that commit. So a request of an event
would reach the other agent after the event, which would wait for the answer. Agents of a channel in memory are an
exception: what they do belongs to the event that asks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import TopologyError
from .tasks import library
from .tasks.work import current_message

__all__ = ["refuse_requests_of_events", "takes_replies"]


def refuse_requests_of_events(app: Any, failed: Callable[[BaseException], None]) -> None:
    """Let agents of topics refuse to be asked by events.

    They raise TopologyError, and give it to `failed`, which stops the process.
    """
    for agent in app.agents.values():
        if isinstance(agent.channel, library.Topic):
            agent._create_req = partial(request, agent, agent._create_req, failed)


def request(
    agent: Any,
    create: Callable[..., Any],
    failed: Callable[[BaseException], None],
    key: Any = None,
    value: Any = None,
    reply_to: Any = None,
    correlation_id: str | None = None,
    headers: Any = None,
) -> Any:
    """Return a request for an agent.

    Raises TopologyError within an event, if the reply is for this process.
    """
    if current_message() is not None and takes_replies(agent.app, agent._get_strtopic(reply_to)):
        refused = TopologyError(
            f"agent {agent.name!r} is asked within an event: the request is sent when the event is done, so its reply "
            "could not come before; use cast() in place of ask(), map() and join(), or send(reply_to=) with the agent "
            "that goes on with the answer, or await a function that computes it"
        )
        failed(refused)
        raise refused
    return create(key, value, reply_to, correlation_id, headers)


def takes_replies(app: Any, topic: str) -> bool:
    """Return whether a topic is one for replies to requests."""
    conf: Any = app.conf
    return topic == conf.reply_to or topic.startswith(conf.reply_to_prefix)
