"""Encryption of the columns that may hold secrets of others, if a key is configured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import JSON, Dialect, TypeDecorator

from dlcs_assets.ledger.column_types import SanitizedText

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

# Part of what is stored. SQS takes no message with its first character: no sender can pretend.
PREFIX: Final = "\x01sealed:"
HOW: Final = "make one with: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


class WrongKeyError(Exception):
    """Something in the ledger cannot be read with the keys of DLCS_LEDGER_KEY. The message is complete."""


class Cipher:
    """Encrypts with the first of the keys; decrypts with any. Raises WrongKeyError for what is no list of keys."""

    def __init__(self, keys: str) -> None:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 (needed only where there is a key)

        try:
            self._fernet: MultiFernet = MultiFernet([Fernet(key.strip()) for key in keys.split(",")])
        except ValueError:
            raise WrongKeyError(
                f"DLCS_LEDGER_KEY holds no keys, of 32 bytes in base64, with commas between them; {HOW}"
            ) from None

    def encrypt(self, text: str) -> str:
        """Return the text encrypted, with a prefix that marks it so."""
        return PREFIX + self._fernet.encrypt(text.encode("utf-8", "surrogatepass")).decode()

    def decrypt(self, encrypted: str) -> str:
        """Return what `encrypt` was given. Raises WrongKeyError if none of the keys fits."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 (as above)

        try:
            return self._fernet.decrypt(encrypted.removeprefix(PREFIX)).decode("utf-8", "surrogatepass")
        except InvalidToken:
            raise WrongKeyError(
                "The ledger holds what was encrypted with another key than those of DLCS_LEDGER_KEY: put the earlier "
                "key behind the new one, with a comma between them"
            ) from None


# By dialect, because a column's type is given that when it reads and writes, and each engine has its own.
_CIPHERS: Final[WeakKeyDictionary[Dialect, Cipher]] = WeakKeyDictionary()


def use_key(dialect: Dialect, keys: str | None) -> None:
    """Encrypt what is written from now on, if there is a key. What was written before is read as it is."""
    if keys:
        _CIPHERS[dialect] = Cipher(keys)


class EncryptedText(SanitizedText):
    """Text from others that may hold secrets."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Encrypt it."""
        text = super().process_bind_param(value, dialect)
        cipher = _CIPHERS.get(dialect)
        return text if text is None or cipher is None else cipher.encrypt(text)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Decrypt it."""
        return _decrypted(value, dialect)


class EncryptedJson(TypeDecorator[Any]):
    """A JSON object that may hold secrets; encrypted it is a JSON string."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Encrypt it."""
        cipher = _CIPHERS.get(dialect)
        return value if value is None or cipher is None else cipher.encrypt(json.dumps(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Decrypt it."""
        return json.loads(_decrypted(value, dialect) or "null") if isinstance(value, str) else value


def _decrypted(value: str | None, dialect: Dialect) -> str | None:
    if value is None or not value.startswith(PREFIX):
        return value
    cipher = _CIPHERS.get(dialect)
    if cipher is None:
        raise WrongKeyError("The ledger holds what was encrypted, and there is no DLCS_LEDGER_KEY to read it")
    return cipher.decrypt(value)
