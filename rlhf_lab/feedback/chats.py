"""Comparisons in chat format: a prompt and two answers as lists of messages, each with a role and a content."""

from collections.abc import Callable, Sequence
from typing import Any

Message = dict[str, Any]
Render = Callable[[list[Message]], str]


def written(role: str, text: str) -> list[Message]:
    """Return a text as one message."""
    return [{"role": role, "content": text.strip()}]


def checked(name: str, value: Any) -> list[Message]:
    """Return a list of messages, or raise `ValueError`: each must be a dict with texts for role and content."""
    for message in value if isinstance(value, list) else [value]:
        fields = [message.get(key) for key in ("role", "content")] if isinstance(message, dict) else [None]
        if not all(isinstance(field, str) for field in fields):
            raise ValueError(
                f"{name!r} must be a list of messages with texts for role and content; got {message!r:.80}"
            )
    if not value:
        raise ValueError(f"{name!r} has no messages")
    return list(value)


def answer(name: str, value: Any) -> tuple[list[Message], str]:
    """Return the messages before the last, and what the last says; it must be the assistant's."""
    *before, last = checked(name, value)
    if last["role"] != "assistant":
        raise ValueError(f"the last message of {name!r} must be the assistant's; its role is {last['role']!r}")
    return before, str(last["content"])


def joined(messages: Sequence[Message], render: Render | None) -> str:
    """Return the messages of a prompt as one text: that of the only user's message, or what `render` makes of them."""
    if render is not None:
        return render(list(messages))
    roles = [message["role"] for message in messages]
    if roles != ["user"]:
        told = ", ".join(roles) or "none"
        raise ValueError(
            f"the prompt is not one message of a user, but {told}: pass render, a function that makes one text of a "
            "list of messages"
        )
    return str(messages[0]["content"])
