"""New pictures: requests as jobs, of which the worker runs those of one kind together.

Each is checked, and a policy asked, before it is queued. A picture is the same alone and in any batch, see `sampling`.
"""
from __future__ import annotations

import contextlib
import functools
import itertools
import math
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from imggen_jax import generating
from imggen_jax.errors import ImggenError
from imggen_jax.model import MOST_SEEDS, Model
from imggen_jax.prompting import wishes
from imggen_jax.provenance import private, publishing
from imggen_jax.provenance.publishing import Origin
from imggen_jax.sampling import Fields
from imggen_jax.serving import asking, openai, sending
from imggen_jax.serving.models import Entry, Models
from imggen_jax.serving.openai import ApiError
from imggen_jax.serving.sending import Made
from imggen_jax.serving.shelf import Shelf
from imggen_jax.serving.worker import Canceled, Job, Late, Ticket

WATCHED = 50_000_000     # bytes of weights from which a program is stopped between steps, at the price that it is not
                         # kept on the disk when it is compiled; smaller models make a batch in a second or two
DRAFTS = (0.5, 0.25, 0.125)  # shares of the steps of partial pictures, the last one first


class Rows(NamedTuple):
    """A checked request for new pictures."""

    entry: Entry
    model: Model             # of the size that is asked for, without weights
    asked: openai.Generation
    seeds: range
    fields: Fields
    given: Mapping[str, Sequence[Any]]
    options: Mapping[str, Any]


class Seeds:
    """Seeds for requests without one: unforeseeable, and such that those of requests in turn fit into one batch.

    A picture is made at a place of the batch that the low bits of its seed give, see `sampling`: these are counted.
    """

    def __init__(self):
        self._lock, self._next = threading.Lock(), 0

    def draw(self, n: int) -> int:
        """The first of n seeds in a row."""
        with self._lock:
            low, self._next = self._next % 256, self._next + n
        return secrets.randbelow(MOST_SEEDS // 256 - 1) * 256 + low


class Batches:
    """Makes jobs of requests for new pictures."""

    def __init__(self, models: Models, shelf: Shelf, seeds: Seeds,
                 count: Callable[[str, int, int], object] = lambda *_: None):
        """count: is called with a model's id, pictures and requests of each batch."""
        self._models, self._shelf, self._seeds, self._count = models, shelf, seeds, count

    def generation(self, asked: openai.Generation) -> Job:
        """New pictures of a prompt.

        Raises:
          ApiError, ImggenError: what is asked for cannot be.
        """
        entry = self._models.entry(asked.model)
        model = asking.of_size(self._models, entry, asked.size)
        first = self._seeds.draw(asked.number) if asked.seed is None else asked.seed
        seeds = range(first, first + asked.number)
        model.check_seeds(seeds)
        factor = openai.STEPS[asked.quality or "auto"]
        given, options = asking.settled(model, asked.prompt, factor, seeds)
        asking.ask_policy(entry.folder, generating.VERB, model.spec, given, model.generator.needs)
        fields = model.check_given(given, len(seeds), drawn=True)
        options = {"truncation": options.pop("truncation", 1.0), **model.check_options(options)}
        partial = asked.partial_images or 0 if asked.stream else 0
        kind = ("generate", entry.id, model.spec, partial, tuple(sorted(options.items())),
                tuple((name, value.shape[1:]) for name, value in sorted(fields.items())))
        return Job(kind, len(seeds), self._generate, Rows(entry, model, asked, seeds, fields, given, options))

    def warming(self) -> Job:
        """A picture of each model that makes them of seeds and words, so that its programs are compiled."""
        jobs = []
        for name in self._models.ids:
            model = self._models.entry(name).model
            text = model.spec["text"].names if "text" in model.generator.needs else ()
            word = next((word for word in text if word.isalpha()), "a") if "text" in model.generator.needs else ""
            with contextlib.suppress(ApiError):      # it makes pictures of pictures, or a policy refuses the word
                jobs.append(self.generation(openai.Generation(prompt=word, model=name, seed=0)))

        def run(tickets: Sequence[Ticket]) -> None:
            for job in jobs:
                job.run([Ticket("", job, lambda event: None, math.inf)])
            tickets[0].done(None)

        return Job(None, 1, run)

    def _generate(self, tickets: Sequence[Ticket]) -> None:
        """Makes the pictures of some tickets of one kind: drafts for those that stream, then the pictures."""
        rows: Rows = tickets[0].job.about
        model = rows.model._replace(weights=self._models.get(rows.entry.id).weights)
        option = model.generator.options.get(wishes.STEPS)
        steps = rows.options.get(wishes.STEPS, None if option is None else option.default)
        drafts = DRAFTS[:(rows.asked.partial_images or 0) if rows.asked.stream else 0][::-1]
        counts = dict.fromkeys(max(1, round(share * steps)) for share in drafts) if steps is not None else {}
        for number, count in enumerate(count for count in counts if count < (steps or 0)):
            self._round(model, _wanted(tickets), {**rows.options, wishes.STEPS: count},
                        lambda ticket, made, number=number: ticket.partial((number, made)))
        live = _wanted(tickets)
        self._round(model, live, rows.options, lambda ticket, made: ticket.done(made))
        self._count(rows.entry.id, sum(ticket.job.rows for ticket in live), len(live))

    def _round(self, model: Model, tickets: Sequence[Ticket], options: Mapping[str, Any],
               tell: Callable[[Ticket, Made], None]) -> None:
        """Makes every picture of some tickets with the same options, and tells each ticket its own."""
        if not tickets:
            return
        each: list[Rows] = [ticket.job.about for ticket in tickets]
        seeds = np.array([seed for one in each for seed in one.seeds], np.uint32)
        fields = {name: np.concatenate([one.fields[name] for one in each]) for name in each[0].fields}
        given = {name: [value for one in each for value in one.given[name]] for name in each[0].given}
        check = functools.partial(_check, tickets) if each[0].entry.size > WATCHED else None
        made = generating.images(model, each[0].entry.folder.name, seeds, fields, given, options, check=check)
        facts = publishing.training_facts(model.data)
        for ticket, one in zip(tickets, each):
            pictures = list(itertools.islice(made, len(one.seeds)))
            try:
                content = []
                with self._shelf.workplace() as place:
                    for seed, (image, family) in zip(one.seeds, pictures):
                        origin = Origin(generating.VERB, family, facts)
                        self._shelf.remember(ticket.owner, private.hidden(family)[1])
                        content.append(sending.new(place / f"{seed:06d}", image, origin, one.asked))
                height, width = pictures[0][0].shape[:2]
                tell(ticket, Made(content, list(one.seeds), (width, height)))
            except (ImggenError, OSError) as error:   # its own: the others go on
                ticket.failed(error)


def _wanted(tickets: Sequence[Ticket]) -> list[Ticket]:
    """Those that somebody still waits for, whose time is not over."""
    found = []
    for ticket in tickets:
        try:
            if ticket.wanted:
                ticket.check()
                found.append(ticket)
        except Canceled:
            pass
        except Late as error:
            ticket.failed(error)
    return found


def _check(tickets: Sequence[Ticket]) -> None:
    """Raises Canceled where nobody waits for any of the tickets."""
    if not _wanted(tickets):
        raise Canceled
