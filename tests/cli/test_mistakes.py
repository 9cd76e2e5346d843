"""Each mistake of a user is one line: what is wrong, where, and what to do. Never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.system.launching import ROOT
from zmqfl.cli.main import app

GOOD = "version: 1\nname: fl\nsites: {server: {}, site-1: {parent: server}}\n"
TCP = "version: 1\nname: fl\nsecurity: {keys: keys}\nsites:\n  server: {listen: [{bind: 'tcp://127.0.0.1:1'}]}\n"

FILES = {
    "good.yaml": GOOD,
    "tcp.yaml": TCP,
    "typo.yaml": GOOD.replace("parent", "parnet"),
    "orphan.yaml": GOOD.replace("parent: server", "parent: sever"),
    "two-roots.yaml": GOOD.replace("parent: server", ""),
    "circle.yaml": "version: 1\nname: fl\nsites: {s: {}, a: {parent: b}, b: {parent: a}}\n",
    "open.yaml": TCP.replace("127.0.0.1", "0.0.0.0").replace("keys: keys", "mode: none"),
    "no-keys.yaml": TCP.replace("security: {keys: keys}\n", ""),
    "auto.yaml": TCP.replace("keys: keys", "keys: auto"),
    "secret.yaml": GOOD.replace("{parent: server}", "{parent: server, secrets: {P: hunter2}}"),
    "kind.yaml": GOOD + "launchers: {local: {kind: locl}}\n",
    "syntax.yaml": "version: 1\nname: [\n",
    "empty.yaml": "",
    "variable.yaml": GOOD.replace("name: fl", "name: ${NOT_SET}"),
    "timing.yaml": GOOD + "timing: {heartbeat: 9, dead_after: 1}\n",
    "setting.yaml": GOOD + "settings: {max_hop: 3}\n",
    "command.yaml": GOOD.replace("{parent: server}", "{parent: server, run: 'sh -c \"'}"),
    "elsewhere.yaml": GOOD + "launchers: {local: {kind: external}}\n",
    "spec.json": "{}",
    "no-json.json": "nonsense",
    "settings.yaml": "heart: 3\n",
    "large.json": f'"{40_000 * "x"}"',
    "jobs-program.yaml": GOOD.replace("{parent: server}", "{parent: server, jobs: true, run: python x.py}"),
    "job/meta.json": '{"name": "j", "deploy_map": {"app": ["@ALL"]}}',
    "job/app/config/config_fed_server.json": '{"format_version": 2, "workflows": [{"path": "a.B"}]}',
    "job/app/config/config_fed_client.json": """{"format_version": 2,
        "executors": [{"tasks": ["t"], "executor": {"path": "a.B"}}]}""",
    "bad-job/meta.json": '{"name": "j", "deploy_map": {"app": ["@ALL"]}, "min_clients": 0}',
    "bad-job/app/config/config_fed_server.json": "{}",
}

RID = f"R{0:032x}"

MISTAKES: list[tuple[str, str]] = [
    # the command line itself
    ("frob", "No such command 'frob'; see `zmqfl --help`"),
    ("upp good.yaml", "Did you mean 'up'?; see `zmqfl --help`"),
    ("up", "Missing argument 'FILE'; see `zmqfl up --help`"),
    ("up good.yaml --foo", "No such option: --foo; see `zmqfl up --help`"),
    ("up good.yaml --wait soon", "Invalid value for '--wait': Input should be a valid number, unable to parse"),
    ("up good.yaml --wait -1", "Invalid value for '--wait': Input should be greater than or equal to 0; see"),
    ("topology frob", "No such command 'frob'; see `zmqfl topology --help`"),
    ("rtt a --count 0", "Invalid value for '--count': Input should be greater than or equal to 1; see"),
    ("join", "Missing argument 'URL'; see `zmqfl join --help`"),
    ("join tcp://h:1", "Missing option '--name'; see `zmqfl join --help`"),
    # topology files
    ("up nowhere.yaml", "nowhere.yaml: no such file; give the path of a YAML file"),
    ("join tcp://h:1 --name a --plane-port 70000", "Invalid value for '--plane-port': Input should be less than"),
    ("up typo.yaml", "typo.yaml:3: sites.site-1.parnet: unknown key; did you mean 'parent'?"),
    ("topology check orphan.yaml", "orphan.yaml:3: sites.site-1.parent: no site 'sever'; did you mean 'server'?"),
    ("up -d two-roots.yaml", "sites.site-1.parent: has no parent, and neither has 'server': one site is the root"),
    ("up circle.yaml", "the parents form a circle: a -> b -> a; give one of them another"),
    ("up open.yaml", "tcp://0.0.0.0:1 is open to the network with security.mode none; set security.mode: curve"),
    ("up no-keys.yaml", "security.keys: CURVE needs keys, since 'server' listens on tcp; give a folder, or `auto`"),
    ("up secret.yaml", "sites.site-1.secrets.P: the value is no reference; write file:PATH, env:NAME"),
    ("up kind.yaml", "launchers.local: no launcher kind 'locl' in this version; did you mean 'local'?"),
    ("topology show syntax.yaml", "syntax.yaml:"),
    ("topology graph empty.yaml", "empty.yaml"),
    ("up variable.yaml", "NOT_SET"),
    ("up timing.yaml", "timing.dead_after: 1.0 s is shorter than a heartbeat (9.0 s); give at least two heartbeats"),
    ("up setting.yaml", "settings.max_hop: unknown setting; did you mean 'max_hops'?"),
    ("up command.yaml", "sites.site-1.run: is no command line: No closing quotation; mend the quotes"),
    ("up elsewhere.yaml", "sites.site-1.parent: 'server' has no `listen`; add it to sites.server"),
    ("up good.yaml --set sites", "--set sites: is no setting; write a.b.c=VALUE"),
    ("up good.yaml --set sites.sit-1.count=2", "sites.sit-1: no site 'sit-1'; did you mean 'site-1'?"),
    ("up good.yaml sit-1", "topology 'fl' has no site 'sit-1'; did you mean 'site-1'?"),
    # keys
    ("up tcp.yaml", "keys/private/server.key_secret: cell 'server' needs this key; make it with `zmqfl keygen`"),
    ("keygen", "NAME: name one cell, or a topology by -t; as in `zmqfl keygen site-1`"),
    ("keygen a -t tcp.yaml", "NAME: name one cell, or a topology by -t"),
    ("keygen a..b", "name: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("keygen old", "keys/private/old.key_secret: exists already; use it, or force a new one"),
    ("keygen a --keys /proc/x", "/proc/x/private/a.key_secret: cannot be written: "),
    ("keygen -t auto.yaml", "security.keys: its keys are made by `zmqfl up`; give a folder to make them yourself"),
    ("keygen -t good.yaml", "security.keys: it has no keys; give a folder to make them yourself"),
    ("provision", "Missing option '-t' / '--topology'; see `zmqfl provision --help`"),
    ("provision -t nowhere.yaml", "nowhere.yaml: no such file; give the path of a YAML file"),
    ("provision -t auto.yaml", "--out: its keys are made by `zmqfl up`; name a folder, and write it in the file as"),
    ("provision -t good.yaml", "--out: it has no folder of keys; name a folder, and write it in the file as security"),
    ("provision -t tcp.yaml --days 0", "Invalid value for '--days': Input should be greater than or equal to 0.01"),
    ("provision -t tcp.yaml --revoke a", "--revoke: no card was ever made for 'a'; cards have: none yet"),
    ("provision -t tcp.yaml --out /proc/x", "/proc/x/server/private/server.key_secret: cannot be written: "),
    ("provision -t tcp.yaml --authority /proc/x", "/proc/x/federation.secret: cannot be written: "),
    ("provision -t tcp.yaml --authority lost", "lost/federation.secret: the secret key of this federation is not here"),
    # joining and running
    ("join host:1 --name a", "parent: 'host:1' is no address; write tcp://HOST:PORT or ipc:///PATH"),
    ("join tcp://h:99999 --name a", "parent: there is no port 99999; give one from 1 to 65535, or *"),
    ("join tcp://h:1 --name a..b", "--name: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("join tcp://h.example:1 --name a", "without keys would be open to anybody who reaches it; provision keys"),
    ("join tcp://h:1 --name a --keys nowhere", "nowhere/private/a.key_secret: there is no such file; generate the key"),
    ("join tcp://h:1 --name a --server-key x", "--server-key: needs keys of its own; `zmqfl keygen a`, then --keys"),
    ("join tcp://h:1 --name old --keys keys --server-key x", "--server-key: is no public key of 40 characters; copy"),
    ("join tcp://127.0.0.1:1 --name a --set heart=3", "--set heart=3: heart: unknown setting; did you mean"),
    ("join tcp://127.0.0.1:1 --name a --set heartbeat=x", "heartbeat: must be a number above 0, not 'x'"),
    ("join tcp://127.0.0.1:1 --name a --settings settings.yaml", "settings.yaml:1: heart: unknown setting"),
    ("join tcp://127.0.0.1:1 --name a --listen nowhere", "listen: 'nowhere' is no address; write tcp://HOST:PORT"),
    ("run nowhere.json", "nowhere.json: cannot be read: No such file or directory; `zmqfl up --dry-run` shows specs"),
    ("run no-json.json", "no-json.json: is not JSON: "),
    ("run spec.json", "spec.json: federation: is missing; let `zmqfl up` write it"),
    # moving files
    ("push", "FILE: there is nothing to push; name files, or arrays by --npz FILE.npz"),
    ("push --to a", "FILE: there is nothing to push; name files, or arrays by --npz FILE.npz"),
    ("push good.yaml", "--to: names no site; write --to SITE, or --to SITE,SITE"),
    ("push good.yaml --to ,", "--to: names no site; write --to SITE, or --to SITE,SITE"),
    ("push good.yaml --to=", "--to: names no site; write --to SITE, or --to SITE,SITE"),
    ("push good.yaml --to a..b", "--to: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("push nowhere --to a", "zmqfl: nowhere: there is no such file; name a file that exists"),
    ("push good.yaml keys --to a", "zmqfl: keys: is a folder; name a file, or pack the folder into one"),
    ("push /dev/null --to a", "zmqfl: /dev/null: is no regular file; copy what it gives into a file and send that"),
    ("push good.yaml --to a --topic=", "--topic: is empty; leave it out for 'files'"),
    ("push good.yaml --to a --window 0", "Invalid value for '--window': Input should be greater than or equal to 1"),
    ("push good.yaml --to a --timeout 0", "Invalid value for '--timeout': Input should be greater than or equal to"),
    ("push --npz nowhere --to a", "zmqfl: nowhere: there is no such file; name a file that exists"),
    ("push --npz good.yaml --to a", "--npz good.yaml: is no .npz file of plain arrays: File is not a zip file; write"),
    ("push --npz objects.npz --to a", "--npz objects.npz: array 'x' holds Python objects, which do not travel; write"),
    ("push --npz plain.npz", "--to: names no site; write --to SITE, or --to SITE,SITE"),
    ("push --npz plain.npz --to a --topic=", "--topic: is empty; leave it out for 'objects'"),
    ("retrieve", "Missing argument 'SITE'; see `zmqfl retrieve --help`"),
    ("retrieve site-1", "Missing argument 'NAME'; see `zmqfl retrieve --help`"),
    ("retrieve a..b model", "SITE: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("retrieve site-1 model -o nowhere/m.npz", "-o nowhere/m.npz: there is no such folder; make it first"),
    ("retrieve site-1 model -o keys", "-o keys: is a folder; write -o keys/model.npz"),
    ("retrieve site-1 model -o .x", "-o: '.x' is no file name; write -o 'x'"),
    ("retrieve site-1 model -o plain.npz", "plain.npz: exists already; replace it by --force, or choose another by -o"),
    ("retrieve site-1 plain", "plain.npz: exists already; replace it by --force, or choose another by -o"),
    ("retrieve site-1 model --topic=", "--topic: is empty; leave it out for 'ContainerRetriever'"),
    ("retrieve site-1 model --timeout 0", "Invalid value for '--timeout': Input should be greater than or equal to"),
    ("share", "Missing argument 'FILE'; see `zmqfl share --help`"),
    ("share nowhere", "zmqfl: nowhere: there is no such file; name a file that exists"),
    ("share keys", "zmqfl: keys: is a folder; name a file, or pack the folder into one"),
    ("share good.yaml --ttl soon", "--ttl: 'soon' is no time; write 90s, 30m, 1h or 2d"),
    ("share good.yaml --ttl 0s", "--ttl: '0s' is no time; write 90s, 30m, 1h or 2d"),
    ("share good.yaml --to=", "--to: names no site; write --to SITE, or --to SITE,SITE"),
    ("unshare nonsense", "REFERENCE: 'nonsense' is no reference; write RID@SITE, as `zmqfl share` prints it, or"),
    ("unshare site-1:x", "RID@SITE: 'site-1:x' is no RID@SITE; copy what `zmqfl share` has printed"),
    ("pull", "Missing argument 'REFERENCE'; see `zmqfl pull --help`"),
    ("pull nonsense", "REFERENCE: 'nonsense' is no reference; write RID@SITE, as `zmqfl share` prints it, or SITE:"),
    ("pull R12@server", "REFERENCE: 'R12' is no reference id; copy all of what `zmqfl share` has printed"),
    ("pull site-1:", "REFERENCE: 'site-1:' names no file; write SITE:PATH"),
    ("pull a..b:x", "REFERENCE: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("pull site-1:x --to nowhere", "--to nowhere: there is no such folder; make it first"),
    ("pull site-1:x --to good.yaml", "--to good.yaml: is a file, not a folder; give a folder; --name chooses the name"),
    ("pull site-1:x --name a/b", "--name: 'a/b' is no plain file name; write --name 'b'"),
    ("pull site-1:x --name good.yaml", "good.yaml: exists already; replace it by --force, or choose another --name"),
    ("share good.yaml --announce a/b", "--announce: a group is a name without '/', of at most 240 characters"),
    # props and announcements
    ("props frob", "No such command 'frob'; see `zmqfl props --help`"),
    ("props list a..b", "SITE: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("props get site-1", "Missing argument 'KEY'; see `zmqfl props get --help`"),
    ("props get a..b round", "SITE: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("props watch a..b", "SITE: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("props set round", "Missing argument 'VALUE'; see `zmqfl props set --help`"),
    ("props set round abc", 'VALUE: is not JSON (Expecting value: line 1 column 1 (char 0)); put text in "'),
    ("props set round @nowhere", "VALUE: cannot read 'nowhere': No such file or directory; name a text file"),
    (f"props set {1025 * 'k'} 1", "KEY: the key of a prop is a str of 1 to 1024 characters, not 'kkk"),
    ("props set weights @large.json", "VALUE: 'weights' has 40007 bytes, and the plane takes 32768; offer it"),
    ("announcements a/b", "GROUP: a group is a name without '/', of at most 240 characters, not 'a/b'"),
    ("announcements --pull .", "GROUP: names no group; write the group whose files are wanted"),
    ("announcements models --pull nowhere", "--pull nowhere: there is no such folder; make it first"),
    ("announcements models --pull good.yaml", "--pull good.yaml: is a file, not a folder; give a folder"),
    ("transfers a..b", "SITE: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("join tcp://h.example:1 --name a --work w --export e", "without keys would be open to anybody who reaches it"),
    # jobs
    ("simulator", "Missing argument 'JOB'; see `zmqfl simulator --help`"),
    ("simulator job -n 0", "Invalid value for '-n' / '--n-clients': Input should be greater than or equal to 1; see"),
    ("submit", "Missing argument 'JOB'; see `zmqfl submit --help`"),
    ("submit nowhere", "nowhere: no such folder; give the folder of a job, with a meta.json in it"),
    ("submit bad-job", "bad-job/meta.json:1: min_clients: must be at least 1, not 0"),
    ("jobs abort", "Missing argument 'ID'; see `zmqfl jobs abort --help`"),
    ("jobs frob", "No such command 'frob'; see `zmqfl jobs --help`"),
    ("up jobs-program.yaml", "sites.site-1.jobs: the program that `run` names would take over the process"),
    # channels
    ("channel frob", "No such command 'frob'; see `zmqfl channel --help`"),
    ("channel info", "Missing argument 'CHANNEL'; see `zmqfl channel info --help`"),
    ("channel ls --broker a..b", "--broker: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("channel sub c --policy rng", "Invalid value for '--policy': "),
    ("channel sub c --every 0", "Invalid value for '--every': Input should be greater than or equal to 1; see"),
    ("channel sub c --key nowhere", "--key: cannot read 'nowhere': No such file or directory; name a file"),
    ("channel create c --key empty.yaml", "--key: 'empty.yaml' is empty; write the key into it"),
    ("channel pub c nonsense", "DATA: is not JSON "),
    # asking
    ("rpc ls", "Missing argument 'SITE'; see `zmqfl rpc ls --help`"),
    ("rpc frob", "No such command 'frob'; see `zmqfl rpc --help`"),
    ("rpc ls a..b", "SITE: 'a..b' is not a cell name: empty part; use segments of letters"),
    ("rpc ls a --service x/y", "--service: name 'x/y' is none for a service; use up to 64 letters"),
    ("rpc call", "Missing argument 'SITE.METHOD'; see `zmqfl rpc call --help`"),
    ("rpc call site-1", "SITE.METHOD: 'site-1' names no method; write it as in site-1.add"),
    ("rpc call site-1.add one", "ARGS: 'one' is not JSON (Expecting value: line 1 column 1 (char 0)); put text in"),
    ("rpc call site-1.add b=one", "ARGS: 'b=one' is not JSON"),
    ("rpc call site-1.add @nowhere", "ARGS: '@nowhere' cannot read 'nowhere': No such file or directory; name a text"),
    ("rpc call site-1.add 1 b=1 b=2", "ARGS: 'b' is given twice; give each parameter once"),
    ("rpc call site-1.add --tto 0", "Invalid value for '--tto': Input should be greater than or equal to 0.001"),
    ("logs --since yesterday -t fl", "--since: 'yesterday' is no time; write 30s, 10m, 2h or 2026-01-31T12:00:00"),
]  # fmt: skip

NOT_RUNNING: list[tuple[str, str]] = [
    ("ps", "no federation runs here; start one by `zmqfl up FILE`"),
    ("down", "no federation runs here; start one by `zmqfl up FILE`"),
    ("cells -t other", "federation 'other' does not run here; start it by `zmqfl up` with its file"),
    ("route site-1 -t good.yaml", "federation 'fl' does not run here; start it by `zmqfl up` with its file"),
    ("request site-1 info", "no federation runs here; start one by `zmqfl up FILE`"),
    ("rtt site-1", "no federation runs here; start one by `zmqfl up FILE`"),
    ("rpc ls site-1", "no federation runs here; start one by `zmqfl up FILE`"),
    ("rpc call site-1.add 1 2", "no federation runs here; start one by `zmqfl up FILE`"),
    ("push good.yaml --to site-1", "no federation runs here; start one by `zmqfl up FILE`"),
    ("push --npz plain.npz --to site-1", "no federation runs here; start one by `zmqfl up FILE`"),
    ("retrieve site-1 model", "no federation runs here; start one by `zmqfl up FILE`"),
    ("share good.yaml", "no federation runs here; start one by `zmqfl up FILE`"),
    (f"unshare {RID}@server", "no federation runs here; start one by `zmqfl up FILE`"),
    (f"pull {RID}@server", "no federation runs here; start one by `zmqfl up FILE`"),
    ("pull site-1:x -t good.yaml", "federation 'fl' does not run here; start it by `zmqfl up` with its file"),
    ("transfers", "no federation runs here; start one by `zmqfl up FILE`"),
    ("props list", "no federation runs here; start one by `zmqfl up FILE`"),
    ("props get site-1 round", "no federation runs here; start one by `zmqfl up FILE`"),
    ("props set round -1", "no federation runs here; start one by `zmqfl up FILE`"),
    ("props remove round", "no federation runs here; start one by `zmqfl up FILE`"),
    ("props watch", "no federation runs here; start one by `zmqfl up FILE`"),
    ("announcements -t good.yaml", "federation 'fl' does not run here; start it by `zmqfl up` with its file"),
    ("submit job", "no federation runs here; start one by `zmqfl up FILE`"),
    ("jobs list", "no federation runs here; start one by `zmqfl up FILE`"),
    ("jobs abort x", "no federation runs here; start one by `zmqfl up FILE`"),
    ("jobs log x", "no federation runs here; start one by `zmqfl up FILE`"),
    ("channel ls", "no federation runs here; start one by `zmqfl up FILE`"),
    ("channel sub c", "no federation runs here; start one by `zmqfl up FILE`"),
    ("channel pub c 1", "no federation runs here; start one by `zmqfl up FILE`"),
    ("logs -t other", "federation 'other' has never run here; start it by `zmqfl up FILE`"),
]


NOT_BEGUN: list[tuple[str, str]] = [
    ("simulator nowhere", "nowhere: no such folder; give the folder of a job, with a meta.json in it"),
    ("simulator keys", "keys: has no meta.json; give the folder of a job; `meta.json` names its apps and sites"),
    ("simulator bad-job", "bad-job/meta.json:1: min_clients: must be at least 1, not 0"),
    ("simulator job -t 3", "-t: 3 cannot execute at once among 2; give 1 to that number"),
    ("simulator job -n 3 -m 2", "-n: 3 clients are more than 2; raise the limit by -m"),
    ("simulator job -c a,a", "-c: 'a' is taken; name each client once, and none server"),
    ("simulator job -c a,,b", "-c: '' is no name of a client: empty; write a plain name"),
    ("simulator job -w keys", "/keys holds files that no simulation has made; name a new folder, or an empty one"),
    ("simulator job -w /proc/x", "-w: /proc/x cannot be the workspace: No such file or directory; name a folder"),
]
"""What a simulation cannot begin with: its exit status is 1, since 2 says that the run failed."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    np.savez(tmp_path / "plain.npz", x=np.arange(3))
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZMQFL_RUN_DIR", str(tmp_path / "run"))
    (tmp_path / "run" / "fl").mkdir(parents=True, mode=0o700)
    (tmp_path / "run").chmod(0o700)
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "federation.key").write_text("")
    assert CliRunner().invoke(app, ["keygen", "old"]).exit_code == 0
    return tmp_path


def one_line(arguments: str, status: int) -> str:
    """What a command says on standard error: one line; nothing on standard output."""
    result = CliRunner().invoke(app, arguments.split(), prog_name="zmqfl")
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (status, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("zmqfl: ")
    return line


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=[arguments for arguments, _ in MISTAKES])
def test_a_mistake_is_one_line(arguments: str, said: str) -> None:
    assert said in one_line(arguments, 2)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("arguments", "said"), NOT_RUNNING, ids=[arguments for arguments, _ in NOT_RUNNING])
def test_what_does_not_run(arguments: str, said: str) -> None:
    assert said in one_line(arguments, 3)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("arguments", "said"), NOT_BEGUN, ids=[arguments for arguments, _ in NOT_BEGUN])
def test_run_F11_what_does_not_begin(arguments: str, said: str) -> None:
    assert said in one_line(arguments, 1)


def test_enough_mistakes_are_made() -> None:
    assert len(MISTAKES) + len(NOT_RUNNING) >= 40


@pytest.mark.parametrize(
    ("arguments", "status", "said"), [("frob", 2, "No such command"), ("up typo.yaml", 2, "unknown"), ("ps", 3, "runs")]
)
def test_the_same_as_a_process(folder: Path, arguments: str, status: int, said: str) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "zmqfl", *arguments.split()],
        cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (status, "", 1)
    assert said in done.stderr
