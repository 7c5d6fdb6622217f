"""Runs rendered manifests as processes, as a kubelet would: every pod has an address of its own in a network
namespace, every container its image's files, its volumes, its environment and its unprivileged user; probes,
preStop, grace and restarts are the manifest's.

What a real cluster adds, and this does not have, is in docs/limitations.md.
"""

import base64
import contextlib
import http.client
import ipaddress
import itertools
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from chart import BINARY, ROOT

# How long it takes until no new connections reach a pod that is going.
PROPAGATION = 1.0
# How long a container that ended stays down; a kubelet's first delay is 10 s.
RESTART_DELAY = 0.5
# The most that is waited for anything.
PATIENCE = 60
GATEWAY = "10.244.0.1"


def run(*command, **options):
    done = subprocess.run([str(it) for it in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def wait_until(condition, what, patience=PATIENCE):
    limit = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < limit, f"waited in vain until {what() if callable(what) else what}"
        time.sleep(0.02)
    return found


class Cluster:
    """Pods, the Services before them, and what they mount. Everything ends with it."""

    # No number is used twice, so that nobody takes one pod for another; threads may ask for one at the same time.
    numbers, pod_numbers, service_numbers = itertools.count(), itertools.count(2), itertools.count(1)
    pod_network, service_network = ipaddress.ip_network("10.244.0.0/16"), ipaddress.ip_network("10.96.0.0/16")

    def __init__(self, namespace):
        self.namespace = namespace
        self.directory = Path(tempfile.mkdtemp(prefix="pods-"))
        run("mount", "-t", "tmpfs", "pods", self.directory)
        self.secrets, self.config_maps, self.claims = {}, {}, {}
        self.pods, self.services = [], {}
        self.hosts = {"localhost": "127.0.0.1"}
        if subprocess.run(["ip", "link", "show", "pods"], capture_output=True).returncode != 0:
            run("ip", "link", "set", "lo", "up")
            run("ip", "link", "add", "pods", "type", "bridge")
            run("ip", "address", "add", f"{GATEWAY}/16", "dev", "pods")
            run("ip", "link", "set", "pods", "up")
        self.images = {"twinlock": self.directory / "image", "python": Path("/")}
        run(ROOT / "image/rootfs", BINARY, self.images["twinlock"])

    def close(self):
        for pod in self.pods:
            pod.kill()
        for service in self.services.values():
            service.close()
        run("umount", "--recursive", "--lazy", self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def secret(self, name, **files):
        """A Secret; an underscore in a name stands for a dot."""
        self.secrets[name] = {key.replace("_", "."): value.encode() for key, value in files.items()}
        for pod in self.pods:
            pod.update_secret(name)

    def name_host(self, name, address):
        self.hosts[name] = address

    def apply(self, manifests):
        """Makes what can be made: ConfigMaps, claims, Services, and the pods of Deployments and StatefulSets, one
        after the other where they change; then nothing is left of what is not named."""
        for it in manifests:
            if it["kind"] == "ConfigMap":
                self.config_maps[it["metadata"]["name"]] = {key: text.encode() for key, text in it["data"].items()}
            elif it["kind"] == "PersistentVolumeClaim":
                self.claim(it["metadata"]["name"])
            elif it["kind"] == "Service":
                self.service(it)
        for it in manifests:
            if it["kind"] == "Deployment":
                self.roll(it)
            elif it["kind"] == "StatefulSet":
                self.recreate(it)

    def claim(self, name):
        path = self.claims.setdefault(name, self.directory / "claims" / name)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def service(self, manifest):
        name, spec = manifest["metadata"]["name"], manifest["spec"]
        if spec.get("clusterIP") != "None" and name not in self.services:
            self.services[name] = Service(self, name, spec, str(self.service_network[next(self.service_numbers)]))

    def of(self, owner):
        return [pod for pod in self.pods if pod.owner == owner and not pod.is_going]

    def roll(self, manifest):
        """A Deployment with maxUnavailable 0 and maxSurge 1."""
        name, spec = manifest["metadata"]["name"], manifest["spec"]
        assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        old = self.of(name)
        for _ in range(spec["replicas"]):
            self.pod(name, spec["template"]).wait_ready()
            if old:
                old.pop(0).delete()
        for pod in old:
            pod.delete()

    def restart(self, manifest):
        """What `kubectl rollout restart` does."""
        self.roll(manifest)
        wait_until(lambda: not any(pod.is_going for pod in self.pods), "the old pods have ended")

    def recreate(self, manifest):
        """A StatefulSet: a pod ends before the next begins."""
        name, spec = manifest["metadata"]["name"], manifest["spec"]
        for pod in self.of(name):
            pod.delete()
            pod.wait_gone()
        for number in range(spec["replicas"]):
            self.pod(name, spec["template"], f"{name}-{number}").wait_ready()

    def job(self, manifest):
        """Runs a Job, or a pod that runs to its end; gives the exit status and the log of its last try."""
        spec = manifest["spec"]
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        tries = 1 + spec.get("backoffLimit", 0)
        template = spec.get("template", {"spec": spec, "metadata": manifest["metadata"]})
        for _ in range(tries):
            pod = self.pod(manifest["metadata"]["name"], template)
            wait_until(lambda: pod.has_ended, lambda: f"{pod.name} ends: {pod.log()}", 120)
            status, log = pod.containers[0].status, pod.log()
            pod.kill()
            if status == 0:
                break
        return status, log

    def pod(self, owner, template, name=None):
        pod = Pod(self, owner, name or f"{owner}-{next(self.numbers)}", template)
        self.pods.append(pod)
        pod.start()
        return pod

    def ready(self, selector):
        return [pod for pod in self.pods if pod.is_endpoint and selector.items() <= pod.labels.items()]


class Pod:
    """A pod: its network, its volumes and its containers."""

    def __init__(self, cluster, owner, name, template):
        self.cluster, self.owner, self.name = cluster, owner, name
        self.labels = template["metadata"].get("labels", {})
        self.spec = template["spec"]
        self.address = str(cluster.pod_network[next(cluster.pod_numbers)])
        self.directory = cluster.directory / "pods" / f"{name}-{self.address}"
        self.directory.mkdir(parents=True)
        self.is_ready = self.is_going = self.has_ended = self.was_killed = False
        self.is_endpoint = False
        self.containers = []
        self.lock = threading.Lock()
        assert self.spec["automountServiceAccountToken"] is False
        context = self.spec.get("securityContext", {})
        self.group = context.get("fsGroup")
        self.volumes = {volume["name"]: self.volume(volume) for volume in self.spec.get("volumes", [])}
        self.network()

    def network(self):
        number = self.address.split(".", 2)[2].replace(".", "x")
        self.pause = subprocess.Popen(
            ["unshare", "--net", "--uts", "sh", "-c", 'hostname "$1" && exec sleep infinity', "pause", self.name],
        )
        net = f"/proc/{self.pause.pid}/ns/net"
        wait_until(lambda: os.readlink(net) != os.readlink("/proc/self/ns/net"), "a network namespace is there")
        run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", self.pause.pid)
        run("ip", "link", "set", f"v{number}", "master", "pods", "up")
        for command in (
            ["link", "set", "lo", "up"],
            ["address", "add", f"{self.address}/16", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", GATEWAY],
        ):
            run("nsenter", f"--net={net}", "ip", *command)

    def inside(self):
        return ["nsenter", f"--net=/proc/{self.pause.pid}/ns/net", f"--uts=/proc/{self.pause.pid}/ns/uts"]

    def volume(self, volume):
        path = self.directory / "volumes" / volume["name"]
        path.mkdir(parents=True)
        if "persistentVolumeClaim" in volume:
            path = self.cluster.claim(volume["persistentVolumeClaim"]["claimName"])
        elif "secret" in volume:
            source = volume["secret"]
            self.write(path, self.cluster.secrets[source["secretName"]], source)
        elif "configMap" in volume:
            source = volume["configMap"]
            self.write(path, self.cluster.config_maps[source["name"]], source)
        else:
            assert "emptyDir" in volume, volume
            path.chmod(0o777)
        if self.group is not None and not {"secret", "configMap"} & volume.keys():
            os.chown(path, 0, self.group)
            path.chmod(path.stat().st_mode | 0o2770)
        return path

    def write(self, path, files, source):
        """Files as a kubelet writes them: in a directory of their own, to which links lead, so that all change at
        once. The pod's group may read what the owner may."""
        version = path / f"..{time.time_ns()}"
        version.mkdir()
        for item in source.get("items", [{"key": key, "path": key} for key in files]):
            file = version / item["path"]
            file.write_bytes(files[item["key"]])
            mode = source.get("defaultMode", 0o644)
            if self.group is not None:
                os.chown(file, 0, self.group)
                mode |= (mode & 0o400) >> 3
            file.chmod(mode)
            link = path / item["path"]
            if not link.is_symlink():
                link.symlink_to(f"..data/{item['path']}")
        (path / "..next").symlink_to(version.name)
        (path / "..next").rename(path / "..data")

    def update_secret(self, name):
        for volume in self.spec.get("volumes", []):
            if volume.get("secret", {}).get("secretName") == name:
                self.write(self.volumes[volume["name"]], self.cluster.secrets[name], volume["secret"])

    def start(self):
        threading.Thread(target=self.live, daemon=True).start()

    def live(self):
        for spec in self.spec.get("initContainers", []):
            assert spec["restartPolicy"] == "Always", "only native sidecars are run here"
            container = self.container(spec)
            container.wait_started()
        for spec in self.spec["containers"]:
            self.container(spec)
        for container in self.containers:
            container.wait_started()
        failures = 0
        probes = [it for it in self.containers if "readinessProbe" in it.spec]
        while not self.has_ended and not self.was_killed:
            ready = all(probe.probe("readinessProbe") for probe in probes) and all(it.is_running for it in self.containers)
            failures = 0 if ready else failures + 1
            allowed = max([it.spec["readinessProbe"].get("failureThreshold", 3) for it in probes], default=1)
            if ready or failures >= allowed:
                self.set_ready(ready and not self.is_going)
            # Until it is ready sooner than the manifest says, for the tests are in a hurry.
            time.sleep(0.5 if self.is_ready else 0.1)

    def set_ready(self, ready):
        with self.lock:
            self.is_ready = ready
            if not self.is_going:
                self.is_endpoint = ready

    def container(self, spec):
        container = Container(self, spec)
        self.containers.append(container)
        container.start()
        return container

    def ended(self):
        """A container has ended for good."""
        if all(it.status is not None for it in self.containers) and len(self.containers) >= len(self.spec["containers"]):
            self.has_ended = True

    def wait_ready(self):
        wait_until(lambda: self.is_ready, lambda: f"{self.name} is ready: {self.log()}")
        return self

    def wait_gone(self):
        wait_until(lambda: self not in self.cluster.pods, f"{self.name} is gone")

    def delete(self):
        """Ends it as `kubectl delete` does, meanwhile others may be started."""
        with self.lock:
            self.is_going = True
        threading.Thread(target=self.go, daemon=True).start()

    def go(self):
        limit = time.monotonic() + self.spec.get("terminationGracePeriodSeconds", 30)
        leaving = threading.Timer(PROPAGATION, self.leave)
        leaving.start()
        native = [it for it in self.containers if it.spec.get("restartPolicy") == "Always"]
        ordinary = [it for it in self.containers if it not in native]
        for containers in (ordinary, list(reversed(native))):
            threads = [threading.Thread(target=it.stop, args=(limit,)) for it in containers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        leaving.join()
        self.kill()

    def leave(self):
        self.is_endpoint = False

    def kill(self):
        self.was_killed = self.is_going = True
        self.is_endpoint = self.is_ready = False
        for container in self.containers:
            container.kill()
        self.pause.kill()
        self.pause.wait()
        with contextlib.suppress(ValueError):
            self.cluster.pods.remove(self)

    def log(self):
        return "".join(it.log() for it in self.containers)


class Container:
    """A container: a process in the image's files, with the pod's volumes, as an unprivileged user."""

    def __init__(self, pod, spec):
        self.pod, self.spec, self.name = pod, spec, spec["name"]
        self.directory = pod.directory / "containers" / self.name
        self.root = self.directory / "root"
        self.root.mkdir(parents=True)
        self.output = self.directory / "log"
        self.process, self.status, self.restarts, self.crashes = None, None, 0, 0
        self.is_stopping = self.has_started = self.must_end = False
        pod_context, own = pod.spec.get("securityContext", {}), spec.get("securityContext", {})
        context = {**pod_context, **own}
        self.user, self.gid = context["runAsUser"], context.get("runAsGroup", 0)
        assert context["runAsNonRoot"] is True and self.user != 0
        assert own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]}
        self.is_read_only = own.get("readOnlyRootFilesystem", False)
        image = spec["image"].rsplit("/", 1)[-1].split(":")[0].split("@")[0]
        self.image = pod.cluster.images[image]
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOSTNAME": pod.name}
        for variable in spec.get("env", []):
            self.environment[variable["name"]] = self.value(variable)
        if pod.spec.get("enableServiceLinks", True):
            self.environment["TWINLOCK_PORT"] = "tcp://10.96.0.1:6238"
        self.command = [self.expand(word) for word in spec["command"] + spec.get("args", [])]

    def value(self, variable):
        if "value" in variable:
            return variable["value"]
        source = variable["valueFrom"]
        if "fieldRef" in source:
            assert source["fieldRef"] == {"fieldPath": "metadata.name"}
            return self.pod.name
        reference = source["secretKeyRef"]
        return self.pod.cluster.secrets[reference["name"]][reference["key"]].decode()

    def expand(self, word):
        for name, value in self.environment.items():
            word = word.replace(f"$({name})", value)
        return word

    def start(self):
        self.mount()
        threading.Thread(target=self.live, daemon=True).start()

    def mount(self):
        """The image's files, with room for the mount points above them, as a container runtime has them."""
        above, work = self.directory / "above", self.directory / "work"
        above.mkdir()
        work.mkdir()
        layers = f"lowerdir={self.image},upperdir={above},workdir={work}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        for directory in ("proc", "dev", "etc"):
            (self.root / directory).mkdir(exist_ok=True)
        hosts = {**self.pod.cluster.hosts, self.pod.name: self.pod.address}
        self.write_etc("hosts", "".join(f"{address} {name}\n" for name, address in hosts.items()))
        # Nobody answers for other names, and says so at once.
        self.write_etc("resolv.conf", "nameserver 127.0.0.1\n")
        run("mount", "-t", "proc", "proc", self.root / "proc")
        run("mount", "-t", "tmpfs", "dev", self.root / "dev")
        for device in ("null", "zero", "random", "urandom"):
            (self.root / "dev" / device).touch()
            run("mount", "--bind", f"/dev/{device}", self.root / "dev" / device)
        for mount in self.spec.get("volumeMounts", []):
            target = self.root / mount["mountPath"].lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            run("mount", "--bind", self.pod.volumes[mount["name"]], target)
            if mount.get("readOnly"):
                run("mount", "-o", "remount,bind,ro", target)
        if self.is_read_only:
            run("mount", "-o", "remount,ro", self.root)

    def write_etc(self, name, text):
        # The image may have a link there, which leads out of it.
        file = self.root / "etc" / name
        file.unlink(missing_ok=True)
        file.write_text(text)

    def within(self, command):
        groups = ",".join(str(it) for it in {self.gid, self.pod.group} if it is not None)
        return [
            *self.pod.inside(),
            "env", "--ignore-environment", *(f"{name}={value}" for name, value in self.environment.items()),
            "setpriv", "--no-new-privs", "--bounding-set=-all,+sys_chroot,+setuid,+setgid",
            "/usr/sbin/chroot", f"--userspec={self.user}:{self.gid}", f"--groups={groups}", str(self.root),
            *command,
        ]

    def live(self):
        always = self.pod.spec.get("restartPolicy", "Always") == "Always" or self.spec.get("restartPolicy") == "Always"
        while not self.pod.was_killed:
            with self.output.open("ab") as output:
                self.process = subprocess.Popen(self.within(self.command), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            threading.Thread(target=self.watch, args=(self.process,), daemon=True).start()
            status = self.process.wait()
            if not always or self.is_stopping:
                self.status = status
                self.pod.ended()
                return
            self.say(f"ended with {status}, and is started again")
            self.crashes += self.has_started
            self.has_started = False
            self.restarts += 1
            time.sleep(RESTART_DELAY)
            if self.is_stopping:
                return

    def watch(self, process):
        """Startup, then liveness, of one run."""
        failures = 0
        probe = self.spec.get("startupProbe")
        while probe and process.poll() is None and not self.probe("startupProbe"):
            failures += 1
            assert failures < probe["failureThreshold"], f"{self.pod.name}: {self.log()}"
            time.sleep(min(probe["periodSeconds"], 0.1))
        if process.poll() is not None:
            return
        self.has_started = True
        failures = 0
        probe = self.spec.get("livenessProbe")
        while probe and process.poll() is None and not self.is_stopping:
            failures = 0 if self.probe("livenessProbe") else failures + 1
            if failures >= probe["failureThreshold"] and process.poll() is None and not self.is_stopping:
                self.say(f"liveness has failed {failures} times: killed")
                process.kill()
            time.sleep(probe["periodSeconds"])

    def wait_started(self):
        def has():
            return self.has_started or self.status is not None or self.pod.was_killed

        wait_until(has, lambda: f"{self.pod.name} starts: {self.log()}")

    @property
    def is_running(self):
        return self.has_started and self.process.poll() is None

    def probe(self, name):
        probe = self.spec[name]
        limit = probe.get("timeoutSeconds", 1)
        if "exec" in probe:
            try:
                command = self.within(probe["exec"]["command"])
                return subprocess.run(command, capture_output=True, timeout=limit).returncode == 0
            except subprocess.TimeoutExpired:
                return False
        port = probe["httpGet"]["port"]
        ports = {it["name"]: it["containerPort"] for it in self.spec["ports"]}
        try:
            connection = http.client.HTTPConnection(self.pod.address, ports.get(port, port), timeout=limit)
            connection.request("GET", probe["httpGet"]["path"])
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self, limit):
        """preStop, SIGTERM, and SIGKILL where the grace is over."""
        self.is_stopping = True
        hook = self.spec.get("lifecycle", {}).get("preStop")
        if hook:
            time.sleep(min(hook["sleep"]["seconds"], max(0, limit - time.monotonic())))
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        while self.process.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
        assert self.process.poll() is not None, f"{self.pod.name}/{self.name} did not stop in its grace: {self.log()}"

    def kill(self):
        self.is_stopping = True
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def say(self, what):
        with self.output.open("a") as output:
            print(f"{self.pod.name}/{self.name} {what}", file=output)

    def log(self):
        return self.output.read_text(errors="replace") if self.output.exists() else ""


class Service:
    """A virtual address that passes each new connection on to one of the ready pods, as kube-proxy does."""

    def __init__(self, cluster, name, spec, address):
        self.cluster, self.selector, self.address = cluster, spec["selector"], address
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
        for host in (name, f"{name}.{cluster.namespace}.svc"):
            cluster.name_host(host, address)
        self.turn = itertools.count()
        self.listeners = []
        for port in spec["ports"]:
            listener = socket.create_server((address, port["port"]), backlog=512)
            self.listeners.append(listener)
            threading.Thread(target=self.accept, args=(listener, port["targetPort"]), daemon=True).start()

    def accept(self, listener, target):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.forward, args=(client, target), daemon=True).start()

    def forward(self, client, target):
        with client:
            pods = self.cluster.ready(self.selector)
            if not pods:
                return
            pod = pods[next(self.turn) % len(pods)]
            ports = {it["name"]: it["containerPort"] for container in pod.containers for it in container.spec["ports"]}
            try:
                server = socket.create_connection((pod.address, ports[target]), timeout=5)
            except OSError:
                return
            with server:
                pump(client, server)

    def close(self):
        for listener in self.listeners:
            listener.close()


def pump(one, other):
    """Passes on in both directions; each ends by itself, as TCP has it."""
    peers = {one: other, other: one}
    for it in peers:
        it.settimeout(None)
        it.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with selectors.DefaultSelector() as selector:
        for it in peers:
            selector.register(it, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                source = key.fileobj
                try:
                    data = source.recv(65536)
                    if data:
                        peers[source].sendall(data)
                        continue
                    peers[source].shutdown(socket.SHUT_WR)
                except OSError:
                    return
                selector.unregister(source)


def random_token():
    return base64.urlsafe_b64encode(os.urandom(24)).decode()
