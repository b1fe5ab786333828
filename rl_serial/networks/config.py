"""The configuration of a network: a trunk, and its width or a budget."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from rl_serial.errors import OptionError
from rl_serial.networks.trunks import TRUNKS, trunk_options
from rl_serial.settings import MOST, Settings, one_of


class BudgetConfig(Settings):
    """What a network may cost: parameters, or FLOPs of a forward pass of one observation."""

    parameters: PositiveInt | None = None  # trunk and head
    flops: PositiveInt | None = None  # of a forward pass of one observation

    @model_validator(mode="after")
    def _one_of_them(self) -> BudgetConfig:
        if (self.parameters is None) == (self.flops is None):
            raise ValueError("give either parameters or flops")
        return self


class NetworkConfig(Settings):
    """A trunk; its width is given or solved from a budget.

    ``depth`` counts sequential matrix products; of a transformer and a stepwise trunk ``layers``
    may be given instead (six and two products each), and depth follows. Keywords of a trunk that
    was registered from outside are keys beside these.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    # The trunk, see docs/networks.md.
    kind: Annotated[str, AfterValidator(lambda kind: one_of(TRUNKS, kind))] = "residual"
    depth: PositiveInt = 4  # matrix products in sequence
    loops: PositiveInt = 1  # how often the same layers run
    width: PositiveInt | None = None  # of the stream; or budget
    budget: BudgetConfig | None = None  # in place of width, which is solved from it
    layers: Annotated[int, Field(gt=0, strict=True)] | None = None  # in place of depth
    injection: Literal["add", "concat"] = "add"  # how a loop sees the input
    block: Literal["wang", "pre_norm"] = "wang"  # residual: Wang et al.'s, or norm first
    scaled: bool = True  # residual: each block by 1 / sqrt(blocks)
    recall: bool = False  # residual: blocks but the first see the input again

    @property
    def options(self) -> dict[str, Any]:
        """What not every kind of trunk has, of those that this one has."""
        given = self.model_dump()
        return {key: given[key] for key in trunk_options(self.kind) if key in given}

    @model_validator(mode="after")
    def _options_of_its_own(self) -> NetworkConfig:
        own, extra = trunk_options(self.kind), self.model_extra or {}
        unknown = [key for key in extra if key not in own]
        if unknown:
            raise ValidationError.from_exception_data(
                type(self).__name__,
                [
                    InitErrorDetails(type="extra_forbidden", loc=(key,), input=extra[key])
                    for key in unknown
                ],
            )
        for key in ("injection", "block", "scaled", "recall"):
            having = [kind for kind in TRUNKS if key in trunk_options(kind)]
            default = type(self).model_fields[key].default
            if self.kind not in having and getattr(self, key) != default:
                raise OptionError(key, f"only kind {', '.join(having)} has it, not {self.kind}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _depth_of_layers(cls, data: Any) -> Any:
        """The depth of so many layers."""
        if not isinstance(data, dict) or data.get("kind", "residual") not in list(TRUNKS):
            return data  # which is refused for what it is
        products = TRUNKS[data.get("kind", "residual")].products_per_layer
        layers, depth = data.get("layers"), data.get("depth")
        if layers is not None and products is None:
            kinds = [kind for kind, trunk in TRUNKS.items() if trunk.products_per_layer]
            raise OptionError("layers", f"only kinds {' and '.join(kinds)} have them; give depth")
        if products is None or type(layers) is not int or not 1 <= layers <= MOST["layers"]:
            return data
        if depth not in (None, products * layers):
            raise ValueError(
                f"layers={layers} of {products} sequential matrix products are depth "
                f"{products * layers}, not {depth}: give one of them"
            )
        return data | {"depth": products * layers}

    @model_validator(mode="after")
    def _width_or_budget(self) -> NetworkConfig:
        if (self.width is None) == (self.budget is None):
            raise ValueError("give either width or budget")
        return self
