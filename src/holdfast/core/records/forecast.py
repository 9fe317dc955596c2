"""What was expected of a fine-tune before it was trained."""

from __future__ import annotations

from pydantic import Field, model_validator

from holdfast.core.records.base import Part, Record


class MetricForecast(Part):
    """The expected change of one metric, in the direction of harm."""

    metric: str
    """Name, such as `refusal`."""
    about: str
    """What the number is, in words."""
    expected: float = Field(ge=0, le=1)
    """Expected change: 0 is none, 1 all that can be lost."""
    low: float = Field(ge=0, le=1)
    """Lower end of the interval."""
    high: float = Field(ge=0, le=1)
    """Upper end of the interval."""
    confidence: float = Field(gt=0, lt=1)
    """Share of fine-tunes whose outcome such an interval is to hold."""
    mean: float = Field(ge=0, le=1)
    """What "predict the mean" says: the average over the fine-tunes it was fitted on."""


class Variant(Part):
    """One choice of settings, and what it is expected to do."""

    settings: dict[str, float | int | str]
    """Rank, rate, epochs, replay: what the variant sets."""
    forecasts: tuple[MetricForecast, ...]
    """One per metric."""

    def of(self, metric: str) -> MetricForecast:
        """The forecast of a metric; `KeyError` where there is none."""
        for found in self.forecasts:
            if found.metric == metric:
                return found
        raise KeyError(metric)


class Forecast(Record):
    """The forecast of one plan; `inputs` holds the digests of base, rows, settings and model."""

    forecasts: tuple[MetricForecast, ...]
    """What the plan's plain arm is expected to do."""
    protected: tuple[MetricForecast, ...] = ()
    """The same with the plan's replay, where it is the protection; else empty."""
    variants: tuple[Variant, ...] = ()
    """Other settings that were asked for."""
    signals: dict[str, float]
    """What it was read from, by name; see docs/forecast.md."""
    calibrated: bool
    """Whether the base is one that the forecaster was fitted on: elsewhere intervals promise
    nothing."""
    fitted_on: int
    """Fine-tunes that the forecaster was fitted on."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """CPU seconds by part."""


class FittedMetric(Part):
    """A forecaster of one metric: a logistic score, and the errors it made on held-out families."""

    metric: str
    """Name."""
    centre: tuple[float, ...]
    """Means of the features."""
    scale: tuple[float, ...]
    """Their standard deviations."""
    weights: tuple[float, ...]
    """One per standardised feature."""
    intercept: float
    """Score of the average case."""
    penalty: float
    """Ridge penalty that was chosen."""
    errors: tuple[float, ...]
    """Sizes of the held-out errors in units of the spread, ascending."""
    masses: tuple[float, ...]
    """What each of them counts: every data family the same."""
    mean: float
    """Average outcome."""

    @model_validator(mode="after")
    def _whole(self) -> FittedMetric:
        if not len(self.centre) == len(self.scale) == len(self.weights):
            raise ValueError("centre, scale and weights must have one entry per feature")
        if not self.errors or len(self.errors) != len(self.masses):
            raise ValueError("there must be one error per case, each with its mass")
        return self


class Forecaster(Record):
    """Everything a forecast needs, fitted on development fine-tunes of a zoo."""

    features: tuple[str, ...]
    """Features in the order of the weights."""
    metrics: tuple[FittedMetric, ...]
    """One per metric."""
    bases: tuple[str, ...]
    """Digests of the bases it was fitted on."""
    families: tuple[str, ...]
    """Data families it was fitted on."""
    cases: int
    """Fine-tunes it was fitted on."""
