"""Problems, and the wording in which they are put to the model."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from unsqueeze.config.settings import Options, Settings
from unsqueeze.extensions import TASKS


def _operators(text: str) -> str:
    if not text or not set(text) <= set("+-*/"):
        raise ValueError("it must hold one or more of + - * / and nothing else")
    return text


class CountdownSettings(Settings):
    count: int = Field(4, ge=2, le=6)
    """Numbers in a problem."""
    min_number: int = Field(1, ge=1)
    """Smallest number of a problem."""
    max_number: int = Field(15, ge=1)
    """Numbers are drawn from min_number to this."""
    operators: Annotated[str, AfterValidator(_operators)] = "+-*"
    """Allowed operators of + - * /; / only where it leaves no remainder."""
    min_target: int = Field(10, ge=1)
    """Lowest target."""
    max_target: int | None = Field(None, ge=1)
    """Highest target; null is max_result."""
    max_result: int = Field(99, ge=1)
    """Bound on every intermediate result. The embedded model knows the numbers up to 99, and not /."""


class DataSettings(Settings):
    kind: str = "countdown"
    """The task, by name (`unsqueeze eval --list-tasks`), or package.module:Class of your own. `jsonl` reads files of
    problems with their answers: JSON Lines or a JSON array, gzipped or not, or Parquet; `hub` reads data sets of the
    Hugging Face hub, and such files beside them: each path below is `hub:OWNER/NAME[:CONFIG]:SPLIT[@REVISION]`, or a
    file. A commit as the revision pins the data; without one it is the newest. Known sets (GSM8K, MATH-500, …) are read
    in their own format unless fields are named. All others make their problems. What was read is in run.json: a hash,
    and the commit.
    """
    seed: int = 0
    """Seed of the making of problems, or of the drawing of subsets. Not the seed of the run."""
    train_path: str | None = None
    """jsonl: the file of training problems, of any of those formats; hub: the data set, or a file."""
    test_path: str | None = None
    """Held-out problems, named in the same way."""
    validation_path: str | None = None
    """Validation problems, named in the same way, by which the best checkpoint is chosen; null takes num_validation of
    those for training."""
    problem_field: str = "problem"
    """The field of the question, in every file and data set: text, or a list of messages of which the user's is the
    question. A dot leads into an object or a list: `prompt.0.content`. Rows of verl are known by themselves."""
    answer_field: str = "answer"
    """The field of the gold answer, likewise: `reward_model.ground_truth`."""
    test_problem_field: str | None = None
    """The field of the question in test_path; null: problem_field."""
    test_answer_field: str | None = None
    """The field of the gold answer in test_path; null: answer_field."""
    num_train: int | None = Field(None, ge=1)
    """Number of training problems. jsonl, hub: a uniform random subset of this size; null takes all. Others: so many
    are made; null is 800, unless the task says another number.
    """
    num_test: int | None = Field(None, ge=1)
    """Number of held-out problems, likewise; where they are made, null is 96, unless the task says another number."""
    num_validation: int | None = Field(None, ge=1)
    """Number of validation problems, never trained on and none of the held-out ones: made, drawn from validation_path,
    or set apart from the training problems. null takes a whole validation_path; without one there are none, and no
    checkpoint is called the best."""
    skip_bad: bool = False
    """Records of files and data sets whose problem or answer is missing, null, empty or no text are left out, counted
    and the first named (run.json has the number); false refuses the first. Answers that are text which no verifier can
    read: verify.max_unreadable."""
    max_prompt_tokens: int | None = Field(None, ge=1)
    """Problems whose prompt has more tokens are left out, of every set, and counted; null leaves out none, and one that
    does not fit into the model's context is refused."""
    options: Options = Field(default_factory=dict)
    """Settings of the task's own, by name: those of `reasoning_gym` are name, its data set (some run answers as
    Python: use a container)."""
    countdown: CountdownSettings = CountdownSettings()
    """countdown: how hard the problems are."""

    @model_validator(mode="after")
    def _files_are_named(self) -> Self:
        TASKS.check(self.kind)
        paths = (self.train_path, self.test_path, self.validation_path)
        from_hub = [path for path in paths if path is not None and path.startswith("hub:")]
        if self.kind == "jsonl" and (self.train_path is None or self.test_path is None):
            raise ValueError("data.kind is jsonl, so data.train_path and data.test_path must name a file each")
        if self.kind == "hub" and (self.train_path is None or self.test_path is None or not from_hub):
            raise ValueError(
                "data.kind is hub, so data.train_path and data.test_path must each name a data set, as "
                "hub:OWNER/NAME[:CONFIG]:SPLIT[@REVISION], or one of them a file"
            )
        if self.kind != "hub" and from_hub:
            raise ValueError(f"{from_hub[0]} is a data set of the hub, and data.kind is {self.kind}; set it to hub")
        return self

    def fields_of(self, path: str) -> tuple[str, str]:
        """Return the fields of question and gold answer in a file or data set."""
        if path != self.test_path:
            return self.problem_field, self.answer_field
        return self.test_problem_field or self.problem_field, self.test_answer_field or self.answer_field


class PromptSettings(Settings):
    style: Literal["qwen-math", "deepseek-r1", "chat", "plain"] | None = None
    """The way in which models of a family are asked for reasoning and a boxed answer; the fields below override single
    parts. Null gives the problem as it is.
    """
    mode: Literal["plain", "chat"] | None = None
    """`chat` wraps the problem in the tokenizer's chat template; `plain`, the default, gives the template as it is."""
    template: str | None = None
    """The text around `{problem}`, the default (inside the user's turn, in chat mode)."""
    system: str | None = None
    """chat: the system message."""
    opening: str | None = None
    """The beginning of every response; part of the prompt."""
