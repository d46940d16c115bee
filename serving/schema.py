"""What requests and responses hold, checked and described in OpenAPI."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

EXAMPLES = [{"text": "国足热身赛2比1取胜"}, {"texts": ["国足热身赛2比1取胜", "股票大涨"], "top_k": 3}]


class Query(BaseModel):
    """What to predict: exactly one of `text` and `texts`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"oneOf": [{"required": ["text"]}, {"required": ["texts"]}], "examples": EXAMPLES},
    )

    text: str | None = Field(None, description="a text to classify")
    texts: list[str] | None = Field(None, description="texts to classify")
    model: str | None = Field(None, description="name of the model, by default the first of /models")
    top_k: int | None = Field(None, ge=1, description="number of most probable classes to list")
    min_confidence: float = Field(0.0, ge=0, le=1, description="a less probable class becomes ?, or a node above it")
    explain: bool = Field(False, description="add the weight of each character")

    @model_validator(mode="after")
    def has_texts(self):
        if (self.text is None) == (self.texts is None):
            raise ValueError('expected exactly one of "text" and "texts"')
        return self


def query_model(most_texts, most_characters):
    """`Query` with these limits."""
    text = Annotated[str, Field(max_length=most_characters)]
    limited = Annotated[list[text], Field(max_length=most_texts, fail_fast=True)] | None
    fields = {"text": (text | None, Query.model_fields["text"]), "texts": (limited, Query.model_fields["texts"])}
    return create_model("Query", __base__=Query, **fields)


class Label(BaseModel):
    """A class and its probability."""

    label: str
    probability: float


class Prediction(BaseModel):
    """The prediction of a text."""

    label: str | None = Field(None, description="the class, null of an empty text, ? if none is probable enough")
    probability: float = Field(None, description="of the label")
    labels: list[Label] = Field(None, description="instead of label, if a text has any number of labels")
    top_k: list[Label] = Field(None, description="the most probable classes, if top_k was given")
    weights: list[float] = Field(None, description="one for each character, if explain was true; above 0 for the label")


class Predictions(BaseModel):
    """The predictions of the texts of a request, in their order."""

    model: str
    predictions: list[Prediction]


class ServedModel(BaseModel):
    """A model that is served."""

    name: str = Field(description="in requests")
    model: str = Field(description="architecture, such as TextCNN")
    classes: list[str]
    multi_label: bool = Field(description="whether a text has any number of labels")
    levels: int = Field(description="levels of the hierarchy of classes, 1 without one")
    limit: int = Field(description="tokens of a text that are read")
    loaded: str = Field(description="time, ISO 8601")
    version: str = Field(description="digest of the file")


class Limits(BaseModel):
    """What a request may hold."""

    bytes: int = Field(description="of a body")
    texts: int = Field(description="of a request")
    characters: int = Field(description="of a text")


class ServedModels(BaseModel):
    """The models, the first of which is the default, and the limits of requests."""

    models: list[ServedModel]
    limits: Limits


class Reloaded(BaseModel):
    """The versions of the models after a reload."""

    models: dict[str, str]


class Status(BaseModel):
    status: str


class Problem(BaseModel):
    """Why a request has no answer."""

    detail: str
