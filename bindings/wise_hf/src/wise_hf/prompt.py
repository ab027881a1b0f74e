"""From questions to tokens, with the tokens that vote on the route marked."""

from dataclasses import dataclass

from tokenizers import Tokenizer

from .errors import Unsupported, WiseError

# A message: its role and content, as chat templates take it.
Message = dict[str, str]

# Unicode's white space; str.strip() takes four more.
_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
# What stands around a word and is no part of it.
_AROUND_WORDS = "\"'“”„‘’‚«»()[]{}*_`"
_STAND_IN = "\x01message\x01"
# wise has one date for all templates, so that prompts do not change from day to day.
_DATE = {
    "%Y": "2024",
    "%y": "24",
    "%m": "07",
    "%B": "July",
    "%b": "Jul",
    "%d": "26",
    "%A": "Friday",
    "%a": "Fri",
    "%H": "00",
    "%M": "00",
}
_PARTS = "".join(f"|replace('{part}', '{value}')" for part, value in _DATE.items())
_DATED = f"{{%- macro strftime_now(format) -%}}{{{{ format{_PARTS} }}}}{{%- endmacro -%}}"


@dataclass(frozen=True)
class Prompt:
    """Token ids of a question, and the text of those that vote: all in raw, the last user message in chat."""

    tokens: list[int]
    scope: str


class Prompts:
    """Puts questions to a model the way the patch's edits were made."""

    def __init__(self, tokenizer, prompt_format: str, context: int):
        fast = getattr(tokenizer, "backend_tokenizer", None)
        if fast is None:
            raise Unsupported(f"the tokenizer is a {type(tokenizer).__name__}, expected one with a tokenizer.json")
        # A copy, so that nobody's padding or truncation counts.
        self.fast = Tokenizer.from_str(fast.to_str())
        self.fast.no_padding()
        self.fast.no_truncation()
        self.tokenizer, self.format, self.context = tokenizer, prompt_format, context
        if prompt_format == "chat" and not getattr(tokenizer, "chat_template", None):
            raise Unsupported("the tokenizer has no chat template, expected one for prompt format chat")

    def prompt(self, question: str | list[Message]) -> Prompt:
        """A question, or a chat whose last message is one."""
        if self.format == "raw":
            if not isinstance(question, str):
                raise WiseError("got a chat, expected a text: the prompt format is raw")
            encoding = self.fast.encode(_checked(question), add_special_tokens=True)
            return Prompt(encoding.ids, self._text(encoding.ids))
        chat = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
        if not chat or chat[-1].get("role") != "user":
            raise WiseError("a chat has to end with a message of the user")
        text = _checked(chat[-1]["content"]).strip(_WHITE_SPACE)
        full = self._render(chat)
        frame = self._render([*chat[:-1], {**chat[-1], "content": _STAND_IN}])
        head, found, tail = frame.rpartition(_STAND_IN)
        inside = full[len(head) : len(full) - len(tail)]
        if not found or text not in inside:
            raise Unsupported("the chat template does not write the user's message as it is")
        start = len(head) + inside.rindex(text)
        # The template writes its special tokens itself.
        encoding = self.fast.encode(full, add_special_tokens=False)
        voting = [i for i, (a, b) in enumerate(encoding.offsets) if a < start + len(text) and b > start]
        first, last = (voting[0], voting[-1]) if voting else (0, 0)
        return Prompt(encoding.ids, self._text(encoding.ids[first : last + 1]))

    def words(self, text: str) -> list[int]:
        """A text's tokens as keys are read from them: alone, plain, behind a line break and a space."""
        encoding = self.fast.encode("\n " + plain(text), add_special_tokens=False)
        return encoding.ids[: self.context]

    def answer(self, tokens: list[int]) -> str:
        """The text of an answer."""
        return self._text(tokens).strip(_WHITE_SPACE)

    def _text(self, tokens: list[int]) -> str:
        return self.fast.decode(tokens, skip_special_tokens=True)

    def _render(self, chat: list[Message]) -> str:
        template = self.tokenizer.get_chat_template()
        if "strftime_now" in template:
            template = _DATED + template
        return self.tokenizer.apply_chat_template(
            chat, chat_template=template, tokenize=False, add_generation_prompt=True
        )


def plain(text: str) -> str:
    """A text without what stands around its words, in lower case."""
    read = ""
    for letter, behind in zip(text, text[1:] + " "):
        if letter in _AROUND_WORDS and not (read[-1:].isalnum() and behind.isalnum()):
            continue
        if read or letter not in _WHITE_SPACE:
            read += "'" if letter == "’" else letter.lower()
    return read.rstrip(_WHITE_SPACE)


def _checked(text: str) -> str:
    if not text.strip(_WHITE_SPACE):
        raise WiseError("the prompt is empty, expected a text")
    return text
