"""What an attempt is estimated to cost: a price per attempt, per CPU second and per unit the handler reports (R4.8)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

COST_MAX = 1e15
"""What an attempt costs at most: estimates stay numbers that JSON holds and that add up, whatever handlers report."""


class Usage(BaseModel):
    """What one attempt used: CPU seconds, and units the handler reported (for example `tokens`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpu_seconds: float = Field(default=0.0, ge=0)
    units: dict[str, float] = Field(default_factory=dict)


class RateCard(BaseModel):
    """Prices of one job type, in the currency of the installation. `version` is recorded with each cost."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: str = "none"
    per_attempt: float = Field(default=0.0, ge=0)
    per_cpu_second: float = Field(default=0.0, ge=0)
    per_unit: dict[str, float] = Field(default_factory=dict)

    def estimate(self, usage: Usage) -> float:
        """The estimated cost of one attempt, `COST_MAX` at most; units without a price cost nothing."""
        if not (self.per_attempt or self.per_cpu_second or self.per_unit):
            return 0.0
        units = sum(self.per_unit.get(unit, 0.0) * amount for unit, amount in usage.units.items())
        estimate = self.per_attempt + self.per_cpu_second * usage.cpu_seconds + units
        return round(max(-COST_MAX, min(COST_MAX, estimate)), 6)
