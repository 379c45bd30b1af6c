"""Runs a Faust application as a worker: what `tidemill faust worker` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any, Final

from ...operators.policy import fail
from ..clock import SYSTEM
from ..config.settings import Settings
from ..config.sources import load
from ..errors import EXIT_OK
from ..kafka.direct_sender import DirectSender
from ..kafka.options import admin_options, consumer_options, producer_options, restore_options
from ..runtime.process import run_process
from ..serve.logs import setup
from ..serve.server import serving
from ..serve.stats import Stats
from ..signals import StopSignals
from ..topics.startup import StopRequested
from ..version import VERSION
from .application import find_topics, given_settings, load_application, refuse_unsupported
from .conf import engine_arguments
from .host import FaustHost
from .program import faust_topology
from .tasks import library

__all__ = ["run_worker"]

LOG: Final = logging.getLogger("tidemill.faust")
WEB: Final = ("web_port", "web_bind", "web_host")


def run_worker(target: str, options: Mapping[str, Any], given: Callable[[Mapping[str, Any]], dict[str, object]]) -> int:
    """Run the Faust application at `target` until it is stopped; return the exit code.

    `given` returns the engine's settings that are among the options.
    """
    app = load_application(target, options.get("datadir"))
    theirs = given_settings(app)
    arguments = engine_arguments(app, theirs)
    settings = load(app.conf.id, arguments, options=given(options), config=options.get("config"))
    setup(settings, None)
    refuse_unsupported(app, snapshots_only=settings.durability == "snapshot")
    set_web(app, options)
    LOG.info("application %s of Faust %s", app.conf.id, library.version)
    return run(app, settings)


def set_web(app: Any, options: Mapping[str, Any]) -> None:
    """Set the options of the web pages, as Faust's own worker does."""
    conf = app.conf
    if conf.web_enabled and not options["with_web"]:
        conf.web_enabled = False
    for name in WEB:
        if options.get(name) is not None:
            setattr(conf, name, options[name])
    if options.get("web_port") is not None or options.get("web_host") is not None:
        conf.canonical_url = f"http://{conf.web_host}:{conf.web_port}"


def run(app: Any, settings: Settings) -> int:
    """Run an application until SIGTERM or SIGINT; return 0, or raise what made it stop."""
    stats = Stats()
    with ExitStack() as closing:
        stopping = closing.enter_context(StopSignals(limit=settings.stop_timeout))
        closing.enter_context(serving(settings, stats, SYSTEM, VERSION, None))
        closing.enter_context(suppress(StopRequested))
        sender = DirectSender(
            {**producer_options(settings), "client.id": f"{settings.app_id}-sender"},
            {**consumer_options(settings, 1), "client.id": f"{settings.app_id}-replies"},
            admin_options(settings),
        )
        closing.callback(sender.close)
        host = FaustHost(app, sender, {**restore_options(settings, 1), "client.id": f"{settings.app_id}-importer"})
        closing.callback(host.stop)
        find_topics(app, sender.topics())
        topics = host.start()
        make_topics(app, sender, topics)
        topology = faust_topology(host, topics, tuple(app.tables), app.conf.consumer_auto_offset_reset)
        run_process(topology, settings, fail, stats, SYSTEM, stopping)
    return EXIT_OK


def make_topics(app: Any, sender: DirectSender, topics: frozenset[str]) -> None:
    """Create the topics that agents read and that do not exist, as brokers do for Faust."""
    if not app.conf.topic_allow_declare:
        return
    missing = sorted(topics - sender.topics())
    for topic in missing:
        sender.ensure(topic, app.conf.topic_partitions, app.conf.topic_replication_factor or 1, {})
