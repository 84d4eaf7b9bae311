"""Hosts on one machine, for ``ray up``: each has its own network, processes, mounts, names, IPC, home, sshd and key.

A host is a set of Linux namespaces. It needs its own processes, and not only its own network: ``ray stop``, which
``ray up`` runs, ends every Ray process that it sees. A bridge in one more network namespace joins them; there is no
route to anywhere else. They share the file system but for what ``host.sh`` mounts, so they have the tests' Python.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.limits import HANG_S

ROOT = Path(__file__).parents[2]
HOME = Path(pwd.getpwuid(0).pw_dir)
PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "hostname", "sshd", "ssh", "ssh-keygen", "rsync", "ps", "curl")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PREFIX = "10.77.0."
NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")


def require_namespaces() -> None:
    """Skip where hosts cannot be made, and say what is missing."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install openssh-server rsync iproute2 procps hostname curl")
    tried = subprocess.run(["unshare", *NAMESPACES, "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"needs root and namespaces: {tried.stderr.strip()}")


def wait_until(condition: Callable[[], Any], what: str, limit_s: float = HANG_S, poll_s: float = 0.25) -> Any:
    """Wait for an event; fail by its name."""
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"in {limit_s:g} s it never came: {what}")
        time.sleep(poll_s)  # a poll, not a guess at a duration
    return result


@dataclass
class Host:
    """One host. ``processes`` are those on it, by the numbers that this machine gives them."""

    name: str
    address: str
    folder: Path
    """Its home folder, which outlives it."""
    network: "Network"
    _unshare: subprocess.Popen[str] | None = field(default=None, repr=False)
    _first: int = 0

    def boot(self) -> None:
        """Start its first process, plug it in, and wait for its sshd."""
        (self.folder / ".sshd" / "pid").unlink(missing_ok=True)
        environment = {
            "PATH": PATH, "HOME": str(HOME), "OWN": str(self.folder),
            "NAME": self.name, "ADDRESS": self.address,
            "KEEP": "\n".join(sorted({sys.prefix, sys.base_prefix, str(ROOT)})),
        }  # fmt: skip
        self._unshare = _in_namespaces(*NAMESPACES, "bash", str(ROOT / "tests/e2e/host.sh"), environment=environment)
        self._first = wait_until(lambda: _only_child(self._unshare), f"{self.name}'s first process", poll_s=0.02)
        self.network.plug_in(self._first, self.address)
        self._unshare.stdin.write("\n")
        self._unshare.stdin.close()
        wait_until(self._listens, f"{self.name}'s sshd", poll_s=0.02)

    def _listens(self) -> bool:
        assert self._unshare.poll() is None, f"{self.name} did not start: {self._unshare.stderr.read()}"
        return (self.folder / ".sshd" / "pid").exists()

    def kill(self) -> None:
        """Cut its power: everything on it dies at once, without a word. Its home folder stays."""
        if self._first:
            os.kill(self._first, signal.SIGKILL)
            self.network.unplug(self.address)
        if self._unshare is not None:
            self._unshare.wait()
        self._first, self._unshare = 0, None

    def start(self, command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a shell command on it, in the folder of the checkout."""
        shell = ["env", "-i", f"HOME={HOME}", f"PATH={PATH}", f"BASH_ENV={HOME}/.bashrc", "bash", "-c", command]
        enter = ["nsenter", f"--target={self._first}", "--all", f"--wd={ROOT}", "--", *shell]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(enter, **{**streams, **options})

    def run(self, command: str, *, limit_s: float = HANG_S) -> str:
        """Run a shell command on it to its end, and give what it printed; it must succeed."""
        return self.finish(self.start(command), limit_s=limit_s)

    def finish(self, process: subprocess.Popen[str], *, exit_code: int = 0, limit_s: float = HANG_S) -> str:
        """Wait for a command that was started, and give what it printed."""
        try:
            said, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        self.network.note(f"{self.name}$ {process.args[-1]}\n{said}{errors}")
        assert process.returncode == exit_code, f"{self.name}: exit code {process.returncode}, see above"
        return said

    def signal(self, name: str, pattern: str = "") -> None:
        """Send a signal to processes whose command line matches; without a pattern, to all but the first."""
        self.start(f"pkill -{name} -f '{pattern}'" if pattern else f"kill -{name} -1").wait(timeout=HANG_S)

    def lock(self, locked: bool) -> None:
        """Let nobody log in, or let them again."""
        os.kill(self._first, signal.SIGSTOP if locked else signal.SIGCONT)


@dataclass
class Network:
    """A bridge, and the hosts that are plugged into it."""

    folder: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    _bridge: subprocess.Popen[str] | None = field(default=None, repr=False)

    def add(self, exports: Mapping[str, Mapping[str, str]]) -> list[Host]:
        """Make hosts that know each other's names, and boot them.

        Args:
            exports: by the host's name, what its shells export.
        """
        for name in exports:
            address = f"{PREFIX}{len(self.hosts) + 2}"
            self.hosts[name] = Host(name=name, address=address, folder=self.folder / name, network=self)
        for name in exports:
            self._furnish(self.hosts[name], exports[name])
            self.hosts[name].boot()
        return list(self.hosts.values())

    @property
    def key(self) -> Path:
        """The private key that every host lets in."""
        return self.folder / "key"

    def _furnish(self, host: Host, exports: Mapping[str, str]) -> None:
        """Write a host's home: keys, sshd's settings, what its shells export."""
        ssh, sshd = host.folder / ".ssh", host.folder / ".sshd"
        ssh.mkdir(parents=True, mode=0o700)
        sshd.mkdir()
        for key in (self.key, sshd / "key"):
            if not key.exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        shutil.copy(f"{self.key}.pub", ssh / "authorized_keys")
        settings = {
            "ListenAddress": host.address, "HostKey": HOME / ".sshd/key", "PidFile": HOME / ".sshd/pid",
            "AuthorizedKeysFile": HOME / ".ssh/authorized_keys", "UsePAM": "no", "StrictModes": "no",
            "PasswordAuthentication": "no", "MaxSessions": 50, "MaxStartups": 50,
        }  # fmt: skip
        (sshd / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        (sshd / "hosts").write_text(
            "127.0.0.1 localhost\n" + "".join(f"{other.address} {other.name}\n" for other in self.hosts.values())
        )
        (sshd / "shadow").write_text("root:*:20000:0:99999:7:::\nsshd:*:20000:0:99999:7:::\n")
        exports = {"PATH": f"{Path(sys.executable).parent}:$PATH", **exports}
        (host.folder / ".bashrc").write_text("".join(f'export {name}="{value}"\n' for name, value in exports.items()))

    def start(self) -> None:
        """Make the bridge."""
        self._bridge = _in_namespaces("--net", "cat", environment={"PATH": PATH})  # lives by its stdin
        wait_until(self._is_apart, "the bridge's namespace", poll_s=0.02)
        for command in (
            "link set lo up",
            "link add bridge type bridge",
            f"address add {PREFIX}1/24 dev bridge",
            "link set bridge up",
        ):
            self.ip(command)

    def _is_apart(self) -> bool:
        return Path(f"/proc/{self._bridge.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()

    @property
    def inside(self) -> list[str]:
        """What a command starts with that runs on the bridge, at the address PREFIX1."""
        return ["nsenter", f"--target={self._bridge.pid}", "--net", "--"]

    def ip(self, arguments: str, *, check: bool = True) -> None:
        subprocess.run([*self.inside, "ip", *arguments.split()], check=check, capture_output=True)

    def plug_in(self, first_process: int, address: str) -> None:
        """Join a host to the bridge by a cable. Its card keeps its number: others remember it for minutes."""
        number = int(address.rpartition(".")[2])
        self.ip(
            f"link add host{number} type veth peer name eth0 address 02:00:00:00:00:{number:02x} netns {first_process}"
        )
        self.ip(f"link set host{number} master bridge up")

    def unplug(self, address: str) -> None:
        """Remove the cable, if it is not gone already: by itself it goes some time after the host."""
        self.ip(f"link delete host{address.rpartition('.')[2]}", check=False)

    def note(self, what: str) -> None:
        """Add to the transcript, which pytest shows when the test fails."""
        text = re.sub(r"\x1b\[[\d;]*m", "", what).strip()
        print(f"[{time.monotonic() - self.started:5.1f} s] {text}", flush=True)  # noqa: T201

    def end(self) -> None:
        for host in self.hosts.values():
            host.kill()
        if self._bridge is not None:
            self._bridge.kill()
            self._bridge.wait()


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """Have a network of hosts while the block runs."""
    made = Network(folder=folder)
    try:
        made.start()
        yield made
    finally:
        made.end()


def _in_namespaces(*arguments: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Run ``unshare``; it ends with its parent, however that ends, and Ctrl-C is left to the parent."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", *arguments],
        env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def _only_child(process: subprocess.Popen[str]) -> int:
    """Give the process that ``unshare`` forked; 0: not yet."""
    assert process.poll() is None, process.stderr.read()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else 0
