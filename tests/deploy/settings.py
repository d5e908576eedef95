#!/usr/bin/env python3
"""settings.py PROGRAM: whether the JSON Schema of the settings file says what the program takes.

Each example of a settings file in this tree is right by both. Then, for each key that the schema has, values at its limits and words that it
names are right by both, and another kind, one beyond a limit, another word and a key misspelt are wrong by both.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
LINK = "p2psp://" + "a" * 52 + "@127.0.0.1:4480"


def main(program):
    schema = json.loads(run(program, "config", "schema").stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    cases = [(name, text, True) for name, text in examples()]
    cases += [(f"config print {role}", run(program, "config", "print", role, **LINKED).stdout, True) for role in ("splitter", "peer")]
    count = len(cases)
    cases += list(derived(schema))
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p2psp.toml"
        for name, text, is_right in cases:
            path.write_text(text)
            errors = [error.message for error in validator.iter_errors(tomllib.loads(text))]
            done = run(program, "config", "check", "--config", str(path))
            if not errors and re.search(ONLY_THE_PROGRAM, done.stderr):
                is_right, errors = False, ["a schema has no words for it"]
            if is_right and (errors or done.returncode != 0):
                faults.append(f"{name} should be right:\n{text}\n  schema: {errors}\n  program: {done.stderr}")
            if not is_right and not (errors and done.returncode == 2 and re.search(rf"{path}, line \d+: ", done.stderr)):
                faults.append(f"{name} should be wrong:\n{text}\n  schema: {errors}\n  program: {done.returncode}, {done.stderr}")
    if faults:
        sys.exit("\n".join(faults))
    wrong = sum(not is_right for _, _, is_right in cases)
    print(f"the schema and the program agree on {count} examples, and on {len(cases) - count - wrong} right and {wrong} wrong files")


# A range of times, which are texts.
ONLY_THE_PROGRAM = r", line \d+: peer.delay: \S+ is not between 20ms and 30s"
LINKED = {"P2PSP_PEER_LINK": LINK}


def run(program, *arguments, **variables):
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment)


def examples():
    """Settings files of this tree, and those in its prose."""
    for path in sorted(ROOT.glob("deploy/**/*.toml")):
        yield path.relative_to(ROOT), path.read_text()
        # What a comment offers is right, too.
        yield f"{path.relative_to(ROOT)}, all of it", re.sub(r"^#(?=\w+ = )", "", path.read_text(), flags=re.M).replace("KEY@", "a" * 52 + "@")
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]:
        for text in re.findall(r"^```toml\n(.*?)^```", path.read_text(), re.M | re.S):
            yield path.relative_to(ROOT), re.sub(r"p2psp://[^@]*@", f"p2psp://{'a' * 52}@", text)


def derived(schema):
    """Files with one key each, for every key."""
    yield "an unknown table", "[spliter]\n", False
    yield "a table that is a number", "peer = 1\n", False
    for key, kind in schema["properties"].items():
        tables = [(key, kind["properties"])] if "properties" in kind else [(None, {key: kind})]
        for table, keys in tables:
            for name, kind in keys.items():
                for value, is_right in values(kind):
                    yield f"{table}.{name} = {value!r}", written(table, name, value), is_right
                yield f"{table}.{name}, misspelt", written(table, f"{name}x", values(kind)[0][0]), False


def written(table, key, value):
    # Some only fit together with others.
    beside = {"wait_peers": "team_size = 511\n", "loop": 'input = "film.ts"\n', "user": PUSHED + 'password = "x"\n', "password": PUSHED}
    beside |= {"admin_cert": 'admin_key = "k"\n', "admin_key": 'admin_cert = "c"\n', "admin_clients": 'admin_cert = "c"\nadmin_key = "k"\n'}
    head = f"[{table}]\n" if table else ""
    return head + f"{key} = {json.dumps(value)}\n" + beside.get(key, "")


PUSHED = 'input = "push:127.0.0.1:0/live"\n'


def values(kind):
    """Right and wrong values of a kind, a right one first."""
    if "oneOf" in kind:
        return [(choice["const"], True) for choice in kind["oneOf"]] + [("nonesuch", False), (1, False)]
    if kind["type"] == "boolean":
        return [(True, True), (False, True), ("true", False), (1, False)]
    if kind["type"] == "array":
        item = values(kind["items"])
        lists = [([value], is_right) for value, is_right in item] + [([], True), (item[0][0], False)]
        most = kind.get("maxItems")
        return lists + ([([item[0][0]] * most, True), ([item[0][0]] * (most + 1), False)] if most else [])
    found = []
    if "integer" in kind["type"]:
        found += [(kind["minimum"], True), (kind["maximum"], True), (kind["minimum"] - 1, False), (kind["maximum"] + 1, False)]
        found += [(True, False), (1.5, False)]
    if "string" in kind["type"]:
        right = next((text for text in TEXTS if re.search(kind.get("pattern", ""), text)), None)
        if right is None:
            raise LookupError(f"no text of this kind is known here: {kind}")
        if "pattern" in kind:
            # Which of these texts are right is for the pattern to say, and for the program to agree with.
            found = [(text, bool(re.search(kind["pattern"], text))) for text in TEXTS] + found
        found = [(right, True)] + found
    else:
        found += [("1", False)]
    if "integer" not in kind["type"]:
        found += [(1, False), (True, False)]
    return found


# Of every kind that is written as text, and some that are none.
TEXTS = ["info", "500ms", "1.5s", "2 s", "0", "0.0", "-1s", "1m", "1..5s", "4M", "2500k", "1.5 Mbit/s", "64000", "4X", "1h"]
TEXTS += ["127.0.0.1:4480", "[::1]:4480", "[::1%1]:4480", "::1:4480", "tv.example.org:4480", "tv.example.org", "unix:/run/a.sock", "unix:"]
TEXTS += ["a" * 52, "A" * 52, "a" * 51, LINK, LINK.replace("p2psp", "P2PSP"), "http://127.0.0.1/", "p2psp://short@127.0.0.1:4480"]

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: settings.py PROGRAM")
    main(str(Path(sys.argv[1]).resolve()))
