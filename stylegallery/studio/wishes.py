"""What a visitor may set, in the words of the command line; the settings that load weights are not among them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stylegallery.errors import InputError

LARGEST_RESOLUTION = 1024
NAMES = {  # as overrides name them, see conf/
    "resolution": "resolution",
    "content_weight": "method.guidance.content_weight",
    "recolouring": "method.recolouring",
    "steps": "method.guidance.steps",
    "updates": "method.guidance.extras.updates",
    "output_size": "output_size",
}


class Wishes(BaseModel):
    """How to paint; None leaves a setting as the studio was started with it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    resolution: Annotated[int, Field(ge=32, le=LARGEST_RESOLUTION)] | None = None
    content_weight: Annotated[float, Field(ge=0, le=4)] | None = None  # λ_c: how much of the photo stays
    recolouring: Annotated[float, Field(ge=0, le=1)] | None = None  # how much of the paintings' colours
    steps: Annotated[int, Field(ge=1, le=300)] | None = None  # how long it is worked on
    updates: Annotated[int, Field(ge=1, le=1000)] | None = None  # where it was stopped
    output_size: Literal["model", "content"] | None = None

    @classmethod
    def limits(cls) -> dict[str, tuple[float, float]]:
        """The least and the most that a visitor may set, by name."""
        kinds = {name: one["anyOf"][0] for name, one in cls.model_json_schema()["properties"].items()}
        return {name: (one["minimum"], one["maximum"]) for name, one in kinds.items() if "minimum" in one}

    @classmethod
    def of(cls, given: object) -> "Wishes":
        """Raises InputError where they are no such settings."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(map(str, first["loc"])) or "the settings"
            raise InputError(f"{name} cannot be used ({first['msg']}); pass a value that the page offers") from error

    @classmethod
    def in_config(cls, method: Mapping[str, Any]) -> "Wishes":
        """Those that the resolved settings of a method have. Raises InputError where it is no config of StyleGallery,
        or a value lies outside what a visitor may set."""
        try:
            guidance = method["guidance"]
            found = {name: method[name] for name in ("resolution", "recolouring", "output_size")}
            found |= {"content_weight": float(guidance["content_weight"]), "steps": guidance["steps"]}
            found |= {"updates": guidance["extras"]["updates"], "recolouring": float(found["recolouring"])}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"these are no settings of StyleGallery ({error} is missing or of another kind); open a result of it"
            ) from error
        return cls.of(found)

    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)

    def unlike(self, defaults: "Wishes") -> "Wishes":
        """Those that differ from what is used anyway."""
        usual = defaults.given()
        return Wishes(**{name: value for name, value in self.given().items() if usual.get(name) != value})

    def overrides(self) -> list[str]:
        """As run.py takes them."""
        return [f"{NAMES[name]}={value}" for name, value in self.given().items()]
