"""A neural differential equation as the law of a closure: how a micro simulator's averages move when its inputs do.

    dy = F(y, u) d(t, u)          F: O × (1 + I), a small network plus a linear map

A neural controlled differential equation (Kidger et al. 2020, arXiv 2005.08926): averages drift with time and answer to
changes of the inputs. What tells one member from another need not be known: it shows in y itself at the last correction.
Between two exchanges inputs go along the straight line; torchdiffeq integrates by Runge and Kutta's fourth order.

Rows run in blocks of `BLOCK`, filled up with zeros: a row's bits depend on its place in its block, never on other rows.
Legend: `M` rows, `N` courses, `K` times, `I` inputs, `O` outputs, `W` width.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from torchdiffeq import odeint

from coupling.micro_courses import MicroCourses
from twin.errors import InputError
from twin.quiet import quiet
from twin.seeds import stream

Floats = NDArray[np.float64]
BLOCK = 256
FORMAT = "kakehashi-closure-1"
_STEPS = 2  # of Runge and Kutta between two exchanges


@dataclass(frozen=True)
class Lesson:
    """How long and how large.

    Args:
        epochs, batch: passes over the courses, and how many go together.
        ahead: exchanges over which a law is followed before its error counts.
        width: of the hidden layers.
        rate: highest learning rate of the one-cycle schedule (Smith & Topin 2019, arXiv 1708.07120).
        progress: whether to show a bar.
    """

    epochs: int = 200
    batch: int = 16
    ahead: int = 3
    width: int = 24
    rate: float = 1e-2
    progress: bool = False


@dataclass(frozen=True)
class Scales:
    """What makes ports comparable, and what was learned of them.

    Args:
        input_units, output_units, time_units: see `coupling.closure.Law`.
        logarithmic: inputs that are taken as ln u: positive, and over more than a factor of 30.
        middle, spread: of inputs after that `[I]`; low, high: their range.
        base, span: of outputs `[O]`; floor, ceiling: their range.
        tempo: unit of time.
    """

    input_units: dict[str, str]
    output_units: dict[str, str]
    time_units: str
    logarithmic: list[bool]
    middle: list[float]
    spread: list[float]
    low: list[float]
    high: list[float]
    base: list[float]
    span: list[float]
    floor: list[float]
    ceiling: list[float]
    tempo: float

    @classmethod
    def of(cls, courses: MicroCourses) -> Self:
        """From the courses of the lesson."""
        u, y = courses.inputs, courses.outputs
        least, most = u.min(axis=(0, 1)), u.max(axis=(0, 1))
        logarithmic = (least > 0) & (most > 30 * np.where(least > 0, least, 1.0))
        v = np.where(logarithmic, np.log(np.where(logarithmic, u, 1.0)), u)
        spread = v.std(axis=(0, 1))
        return cls(
            input_units=dict(courses.input_units),
            output_units=dict(courses.output_units),
            time_units=courses.time_units,
            logarithmic=logarithmic.tolist(),
            middle=v.mean(axis=(0, 1)).tolist(),
            spread=np.where(spread > 0, spread, 1.0).tolist(),
            low=v.min(axis=(0, 1)).tolist(),
            high=v.max(axis=(0, 1)).tolist(),
            base=y.mean(axis=(0, 1)).tolist(),
            span=courses.spans.tolist(),
            floor=y.min(axis=(0, 1)).tolist(),
            ceiling=y.max(axis=(0, 1)).tolist(),
            tempo=float(np.median(np.diff(courses.times))),
        )

    def inputs(self, u: Floats) -> Floats:
        """Inputs on their scale; NaN where a logarithm is taken of what is not positive."""
        mask = np.array(self.logarithmic, dtype=np.bool_)
        with np.errstate(divide="ignore", invalid="ignore"):
            v = np.where(mask, np.log(np.where(mask, u, 1.0)), u)
        return (np.where(np.isfinite(v), v, np.nan) - self.middle) / self.spread

    def outputs(self, y: Floats) -> Floats:
        """Averages on their scale."""
        return (y - self.base) / self.span

    def averages(self, z: Floats) -> Floats:
        """Averages from their scale."""
        return z * self.span + self.base


class Field(nn.Module):
    """F(y, u) `[M, O, 1 + I]`, on scales."""

    def __init__(self, outputs: int, inputs: int, width: int) -> None:
        super().__init__()
        self.outputs, self.paths = outputs, 1 + inputs
        self.straight = nn.Linear(outputs + inputs, outputs * self.paths)
        self.bent = nn.Sequential(
            nn.Linear(outputs + inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, outputs * self.paths, bias=False),
        )  # fmt: skip

    def forward(self, z: Tensor, v: Tensor) -> Tensor:
        """From averages `[M, O]` and inputs `[M, I]`."""
        both = torch.cat([z, v], dim=-1)
        return (self.straight(both) + self.bent(both)).unflatten(-1, (self.outputs, self.paths))

    def carry(self, z: Tensor, v0: Tensor, v1: Tensor, span: Tensor) -> Tensor:
        """Averages `[M, O]` after `span` `[M]`, in which inputs went straight from `v0` to `v1` `[M, I]`."""
        way = torch.cat([span[:, None], v1 - v0], dim=-1)[:, :, None]

        def slope(s: Tensor, z: Tensor) -> Tensor:
            return (self(z, v0 + s * (v1 - v0)) @ way)[..., 0]

        grid = torch.linspace(0.0, 1.0, _STEPS + 1, dtype=z.dtype)
        points = odeint(slope, z, grid, method="rk4")
        assert isinstance(points, Tensor)
        return points[-1]


@dataclass(frozen=True, eq=False)
class NeuralLaw:
    """A learned law; see `coupling.closure.Law`.

    Args:
        field: trained.
        scales: of its ports.
        width: of the field's hidden layers.
    """

    field: Field
    scales: Scales
    width: int

    @classmethod
    def fit(cls, courses: MicroCourses, *, seed: int, lesson: Lesson | None = None) -> Self:
        """Learn from courses; the same seed gives the same weights on the same machine, on one thread."""
        lesson = lesson or Lesson()
        scales = Scales.of(courses)
        with _one_thread(), torch.random.fork_rng(devices=[]), quiet("lightning.pytorch", "lightning.fabric"):
            torch.manual_seed(int(stream(seed, "closure", "weights").integers(2**62)))
            field = Field(len(scales.output_units), len(scales.input_units), lesson.width).double()
            batches = _Batches(courses, scales, lesson, seed)
            trainer = lightning.Trainer(
                max_epochs=lesson.epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
                enable_model_summary=False, enable_progress_bar=lesson.progress, gradient_clip_val=1.0,
            )  # fmt: skip
            trainer.fit(_Pupil(field, lesson, len(batches)), DataLoader(batches, batch_size=None))
        return cls(field.eval(), scales, lesson.width)

    @property
    def input_units(self) -> Mapping[str, str]:
        """Name → units."""
        return self.scales.input_units

    @property
    def output_units(self) -> Mapping[str, str]:
        """Name → units."""
        return self.scales.output_units

    @property
    def time_units(self) -> str:
        """Of spans."""
        return self.scales.time_units

    def advance(self, said_MO: Floats, *, heard_MI: Floats, hears_MI: Floats, span_M: Floats) -> Floats:
        """See `coupling.closure.Law`."""
        scaled = (
            self.scales.outputs(said_MO), self.scales.inputs(heard_MI), self.scales.inputs(hears_MI),
            np.asarray(span_M, dtype=np.float64) / self.scales.tempo,
        )  # fmt: skip
        found: list[Floats] = [np.zeros((0, said_MO.shape[1]))]
        with torch.no_grad(), _one_thread():
            for first in range(0, len(said_MO), BLOCK):
                rows = slice(first, first + BLOCK)
                filled = [np.zeros((BLOCK, *array.shape[1:])) for array in scaled]
                for block, array in zip(filled, scaled, strict=True):
                    block[: len(array[rows])] = array[rows]
                z = self.field.carry(*(torch.from_numpy(block) for block in filled))
                found.append(z.numpy()[: len(said_MO[rows])])
        return self.scales.averages(np.concatenate(found))

    def knows(self, said_MO: Floats, hears_MI: Floats) -> NDArray[np.bool_]:
        """Within the ranges of the lesson, widened by a twentieth."""
        scales = self.scales
        inputs = self.scales.inputs(hears_MI)
        low, high = ((np.array(edge) - scales.middle) / scales.spread for edge in (scales.low, scales.high))
        fine = _within(inputs, low, high)
        return fine & _within(said_MO, np.array(scales.floor), np.array(scales.ceiling))

    def save(self, path: Path) -> None:
        """Write weights and scales as one safetensors file, whole or not at all."""
        from safetensors.torch import save

        weights = {name: value.contiguous() for name, value in self.field.state_dict().items()}
        facts = json.dumps({"scales": asdict(self.scales), "width": self.width}, sort_keys=True, allow_nan=False)
        beside = path.with_name(f".{path.name}.part")
        beside.write_bytes(save(weights, metadata={"format": FORMAT, "facts": facts}))
        beside.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: no such file, damaged, or another format.
        """
        from safetensors import SafetensorError, safe_open

        cure = "`NeuralLaw.fit(courses, seed=…).save(path)` writes one."
        try:
            with safe_open(path, framework="pt") as file:
                labels = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except FileNotFoundError as error:
            raise InputError(f"{path}: there is no such law; {cure}") from error
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a law, cut short or damaged ({error}); {cure}") from error
        if labels.get("format") != FORMAT:
            raise InputError(f"{path}: format {labels.get('format')!r}; expected {FORMAT!r}. {cure}")
        try:
            facts = json.loads(labels["facts"])
            scales = Scales(**facts["scales"])
            field = Field(len(scales.output_units), len(scales.input_units), int(facts["width"])).double()
            field.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: its weights and its facts do not fit each other; {cure}") from error
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise InputError(f"{path}: weights that are not finite; {cure}")
        return cls(field.eval(), scales, int(facts["width"]))


def _within(values: Floats, low: Floats, high: Floats) -> NDArray[np.bool_]:
    margin = 0.05 * (high - low)
    return np.asarray(((values >= low - margin) & (values <= high + margin)).all(axis=1), dtype=np.bool_)


class _Batches(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Stretches of `ahead` exchanges from places drawn anew for every epoch."""

    def __init__(self, courses: MicroCourses, scales: Scales, lesson: Lesson, seed: int) -> None:
        self._z = torch.from_numpy(scales.outputs(courses.outputs))
        self._v = torch.from_numpy(scales.inputs(courses.inputs))
        self._span = torch.from_numpy(np.diff(courses.times) / scales.tempo)
        self._ahead = min(lesson.ahead, len(courses.times) - 1)
        self._batch, self._chance = lesson.batch, stream(seed, "closure", "batches")

    def __len__(self) -> int:
        return -(-len(self._z) // self._batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        order = self._chance.permutation(len(self._z))
        for first in range(0, len(order), self._batch):
            rows = order[first : first + self._batch]
            starts = self._chance.integers(self._z.shape[1] - self._ahead, size=len(rows))
            places = starts[:, None] + np.arange(self._ahead + 1)
            yield self._z[rows[:, None], places], self._v[rows[:, None], places], self._span[places[:, :-1]]


class _Pupil(lightning.LightningModule):
    """The field in training: mean squared error along the way, on the outputs' scales."""

    def __init__(self, field: Field, lesson: Lesson, batches: int) -> None:
        super().__init__()
        self.field, self._rate, self._total = field, lesson.rate, lesson.epochs * batches

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        z, v, span = batch
        said, loss = z[:, 0], z.new_zeros(())
        for k in range(span.shape[1]):
            said = self.field.carry(said, v[:, k], v[:, k + 1], span[:, k])
            loss = loss + ((said - z[:, k + 1]) ** 2).mean()
        loss = loss / span.shape[1]
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(z))
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self._rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self._rate, total_steps=self._total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over threads would add in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
