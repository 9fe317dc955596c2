"""Fan an evaluation out over Ray: one frozen plan, several workers, every sample exactly once.

The driver alone hands out batches and takes answers, and the runner alone writes the cache. A
worker that dies loses the batch that it held, which another worker gets; a batch is accepted once
by construction, because one task stands for it at any time. Requires the extra `scale`.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

from holdfast.core.errors import EnvironmentFault, InvalidRun, UsageError
from holdfast.core.protocols import Generator, Messages
from holdfast.evals.replies import Reply

MOST_DEATHS = 3
"""How often one batch may kill its worker before the run stops."""


class Worker:
    """A copy of the model in a process of its own."""

    def __init__(self, make: Callable[[], Generator], digest: str) -> None:
        self.generator = make()
        if self.generator.digest != digest:
            raise InvalidRun(
                "a worker loaded other weights than the driver",
                got=self.generator.digest[:12],
                expected=digest[:12],
            )

    def pid(self) -> int:
        """Process of this worker."""
        return os.getpid()

    def generate(self, conversations: Sequence[Messages], options: Mapping[str, Any]) -> list[str]:
        """One answer per conversation, in order."""
        return self.generator.generate(conversations, **options)


class Fleet:
    """Workers on a Ray cluster; implements `evals.replies.Streaming`. Use it as a context.

    Args:
        make: builds the generator inside a worker; must be picklable.
        digest: content digest that every worker's generator must have.
        workers: number of workers.
        address: of a Ray cluster; "" starts a local one, or takes that of `RAY_ADDRESS`.
        cpus: CPUs that Ray reserves for each worker.
        gpus: GPUs that Ray reserves for each worker.
    """

    price: tuple[float, float] | None = None

    def __init__(
        self,
        make: Callable[[], Generator],
        digest: str,
        workers: int,
        *,
        address: str = "",
        cpus: float = 1.0,
        gpus: float = 0.0,
    ) -> None:
        if workers < 1:
            raise UsageError("workers", got=str(workers), expected="at least 1")
        self.digest, self.workers = digest, workers
        self._make, self._address = make, address
        self._resources = {"num_cpus": cpus, "num_gpus": gpus}
        self._actors: list[Any] = []
        self._deaths = 0
        self._started_ray = False

    def __enter__(self) -> Self:
        """Join or start the cluster, and start the workers."""
        ray = _ray()
        if not ray.is_initialized():
            local = not (self._address or os.environ.get("RAY_ADDRESS"))
            ray.init(
                address=self._address or None, include_dashboard=None if not local else False,
                num_cpus=max(1, int(self.workers * self._resources["num_cpus"])) if local else None,
                log_to_driver=False, configure_logging=False,
            )  # fmt: skip
            self._started_ray = True
        self._actors = [self._start() for _ in range(self.workers)]
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the workers, and the cluster if it was started here."""
        ray = _ray()
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._started_ray:
            ray.shutdown()
            self._started_ray = False

    @property
    def facts(self) -> dict[str, str]:
        """Number of workers, and how many died on the way."""
        return {"workers": str(self.workers), "workers_lost": str(self._deaths)}

    @property
    def pids(self) -> list[int]:
        """Processes of the workers."""
        found: list[int] = _ray().get([actor.pid.remote() for actor in self._actors])
        return found

    def stream(
        self,
        conversations: Sequence[Messages],
        *,
        max_new_tokens: int,
        batch_size: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[Mapping[int, Reply]]:
        """Replies batch by batch, as workers finish them.

        Raises:
            EnvironmentFault: one batch killed its worker `MOST_DEATHS` times.
            HoldfastError: what a worker raised while it generated, as it was.
        """
        ray = _ray()
        options = {
            "max_new_tokens": max_new_tokens, "batch_size": batch_size,
            "temperature": temperature, "seed": seed,
        }  # fmt: skip
        waiting = deque(
            (range(start, min(start + batch_size, len(conversations))), 0)
            for start in range(0, len(conversations), batch_size)
        )
        idle = list(range(len(self._actors)))
        running: dict[Any, tuple[range, int, int]] = {}
        while waiting or running:
            while waiting and idle:
                batch, deaths = waiting.popleft()
                place = idle.pop()
                asked = [conversations[index] for index in batch]
                task = self._actors[place].generate.remote(asked, options)
                running[task] = (batch, deaths, place)
            ready, _ = ray.wait(list(running), num_returns=1)
            batch, deaths, place = running.pop(ready[0])
            try:
                answers = ray.get(ready[0])
            except ray.exceptions.RayActorError as error:
                if error.actor_init_failed:
                    raise _unstarted(error) from None
                waiting.appendleft((batch, self._bury(place, deaths)))
                idle.append(place)
                continue
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            idle.append(place)
            if len(answers) != len(batch):
                raise InvalidRun("a worker gave another number of answers than it was asked for")
            yield {i: Reply(answer) for i, answer in zip(batch, answers, strict=True)}

    def _start(self) -> Any:
        return _ray().remote(**self._resources)(Worker).remote(self._make, self.digest)

    def _bury(self, place: int, deaths: int) -> int:
        """Replace a dead worker; how often its batch has now lost one."""
        self._deaths += 1
        if deaths + 1 >= MOST_DEATHS:
            raise EnvironmentFault(
                f"a worker died {MOST_DEATHS} times over the same batch",
                next_step="lower the batch size and run the same command again; "
                "finished answers are kept",
            )
        with contextlib.suppress(_ray().exceptions.RayError):
            _ray().kill(self._actors[place])
        self._actors[place] = self._start()
        return deaths + 1


@contextlib.contextmanager
def spread(generator: Generator, workers: int) -> Iterator[Generator | Fleet]:
    """`generator` itself for one worker, else a fleet whose workers get a copy of it each."""
    if workers == 1:
        yield generator
        return
    with Fleet(partial(_same, generator), generator.digest, workers) as fleet:
        yield fleet


def _same(generator: Generator) -> Generator:
    return generator


def _unstarted(error: Exception) -> InvalidRun:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return InvalidRun(
        f"a worker could not start ({lines[-1][:300] if lines else 'no reason given'})",
        next_step="try the same model with one worker",
    )


def _ray() -> Any:
    try:
        import ray  # two seconds, and an extra
    except ModuleNotFoundError:
        raise EnvironmentFault(
            "fanning out needs the package 'ray'",
            next_step="run: pip install 'holdfast[scale]', or evaluate with one worker",
        ) from None
    return ray
