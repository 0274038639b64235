# SPDX-License-Identifier: Apache-2.0
"""The token: where it is looked for, who may read it, and a proof that needs it."""

import hashlib
import stat

import pytest

from host.driver.errors import NotAllowed
from host.driver.remote import token
from host.driver.remote.handshake import proof
from host.driver.remote.token import FILE, VALUE, find_token, server_token


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.delenv(VALUE, raising=False)
    monkeypatch.delenv(FILE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config/edge-moe/token"


def test_a_server_makes_one_that_only_its_owner_reads(home):
    made, source = server_token()
    assert source == str(home) and len(made) >= 43
    assert stat.S_IMODE(home.stat().st_mode) == 0o600 and stat.S_IMODE(home.parent.stat().st_mode) == 0o700
    assert server_token() == find_token() == (made, source)
    home.unlink()
    assert server_token()[0] != made


def test_it_is_looked_for_in_this_order(home, tmp_path, monkeypatch):
    default, _ = server_token()
    other, _ = server_token(tmp_path / "other")
    monkeypatch.setenv(FILE, str(tmp_path / "other"))
    assert find_token()[0] == other != default
    monkeypatch.setenv(VALUE, "  one of the environment\n")
    assert find_token() == (b"one of the environment", f"the variable {VALUE}")
    assert find_token(home)[0] == default and server_token()[0] == b"one of the environment"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o606])
def test_one_that_others_may_read_or_write_is_refused(home, mode):
    server_token()
    home.chmod(mode)
    for look in (find_token, server_token):
        with pytest.raises(NotAllowed, match="Others may read the token .* chmod 600"):
            look()


@pytest.mark.parametrize("text", ["", "short", "fifteen letters", "x" * 1025])
def test_one_that_is_too_short_or_long_is_refused(home, text, monkeypatch):
    monkeypatch.setenv(VALUE, text)
    with pytest.raises(NotAllowed, match="must have 16 to 1024"):
        find_token()


def test_none_at_all_names_the_places(home, tmp_path):
    with pytest.raises(NotAllowed, match=f"no token {home}: copy the one of the server.* {VALUE} or {FILE}"):
        find_token()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotAllowed, match="token cannot be (made|read): Not a directory"):
        server_token(tmp_path / "file/token")


def test_a_proof_depends_on_token_role_and_both_challenges():
    given = (b"token of this test", b"client", b"s" * 32, b"c" * 32)
    others = [(b"token of that test", *given[1:]), (given[0], b"server", *given[2:]), (*given[:2], b"t" * 32, given[3]),
              (*given[:3], b"d" * 32), (*given[:2], given[3], given[2])]
    assert len({proof(*each) for each in (given, *others)}) == 6
    key = given[0].ljust(64, b"\0")  # HMAC as RFC 2104 says it
    inner = hashlib.sha256(bytes(k ^ 0x36 for k in key) + b"client\0" + given[2] + given[3]).digest()
    assert proof(*given) == hashlib.sha256(bytes(k ^ 0x5C for k in key) + inner).digest()


def test_proofs_are_compared_in_constant_time():
    import ast
    import inspect

    from host.driver.remote import handshake
    tree = ast.parse(inspect.getsource(handshake))
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)
                and any(isinstance(name, ast.Name) and name.id in ("shown", "proof") for name in ast.walk(node))]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "compare_digest"]
    assert not compared and len(calls) == 2 and token.SHORTEST >= 16
