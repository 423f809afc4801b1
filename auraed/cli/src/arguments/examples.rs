//! The ends of the help texts: examples first, then what does not fit an option's line.

pub(super) const ALL: &str = "Examples:
  aurae run -f hello.yaml              run a pod from a Kubernetes or an Aurae manifest
  aurae plan -f hello.yaml             what this node would do with it, and what it refuses
  aurae ps                             the pods of this node
  aurae logs -f hello                  follow a pod's log
  aurae exec -it hello -- sh           a shell in its first container
  aurae why hello                      where its start spent its time
  aurae ps -o json | jq                for programs

A POD is given by its id, by NAMESPACE/NAME, or by its name where only one pod has it.

The daemon is reached at --socket, as whom the certificate in --identity says. `auraed identity issue NAME --out DIR
--owner USER`, as root, makes an identity for a user.

Exit codes: 0 done, 1 it failed, 2 wrong usage; exec ends with the program's own.";

pub(super) const RUN: &str = "Examples:
  aurae run -f hello.yaml              wait until it runs
  aurae run -d -f a.yaml -f b.yaml     answer as soon as the pods of both files are accepted
  aurae run --replace -f hello.yaml    anew, in place of the pod of that name
  generate | aurae run -f -            from standard input

An Aurae manifest:
  apiVersion: aurae.dev/v0
  kind: Pod
  name: hello
  containers:
  - name: main
    image: docker.io/library/busybox:latest
    command: [sh, -c, 'echo hello; sleep 3600']

A pod without an id (a Kubernetes one without metadata.uid) has NAMESPACE.NAME as its id, so that running a file twice is
one pod.";

pub(super) const PLAN: &str = "Examples:
  aurae plan -f hello.yaml
  aurae plan -f hello.yaml -o json | jq '.refusals'";

pub(super) const PS: &str = "Examples:
  aurae ps                             all pods
  aurae ps -c hello                    the containers of one
  aurae ps -w                          each change on a line, as it happens
  aurae ps -o json | jq -r '.pods[].id'";

pub(super) const LOGS: &str = "Examples:
  aurae logs -f --tail 10 hello        the last ten lines, then what comes
  aurae logs -c sidecar --since 5m default/hello
  aurae logs -p hello                  what it said before it was restarted
  aurae logs -o json hello             each line with its time and stream";

pub(super) const EXEC: &str = "Examples:
  aurae exec hello -- ls -l /
  aurae exec -it hello -- sh           with this terminal
  tar c dir | aurae exec -i hello -- tar x -C /tmp

What stands after -- is the program's.";

pub(super) const STOP: &str = "Examples:
  aurae stop hello
  aurae stop --grace-period 1 default/a default/b
  aurae stop --all";

pub(super) const RM: &str = "Examples:
  aurae rm hello
  aurae rm --grace-period 0 --all";

pub(super) const PULL: &str = "Examples:
  aurae pull busybox
  aurae pull registry.example/team/app@sha256:…
  aurae pull --username ada registry.example/app < password.txt

Without --username the daemon's own docker config is used, if it has one.";

pub(super) const IMAGE: &str = "Examples:
  aurae image ls
  aurae image import app.tar
  docker save app | aurae image import -
  aurae image import --reference example.com/app:1 layout.tar.gz
  aurae image rm example.com/app:1";

pub(super) const EVENTS: &str = "Examples:
  aurae events hello
  aurae events -f -o json | jq 'select(.warning)'";
