"""What a host and whoever watches it say to each other: one typed protocol, JSON on any carrier.

A view opens a session with `Open`; the host answers `Hello`, or `Skew` when it speaks another
protocol. From then on the host sends a `Frame` whenever something changed, ten a second at most,
and the next one only when the view has said `Ack`. A view asks with an `Ask`, and gets one `Reply`.
The TypeScript of the views is generated from this file (`make protocol`).

Payloads stay behind: a frame names events and records, `EventAsk` and `FlowAsk` fetch them. All
text is data, never markup.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from aegis.core.guest import GuestCost, GuestStatus, TrapOutcome
from aegis.core.guest import GuestLimits as GuestLimits  # noqa: PLC0414 -- it becomes TypeScript, too

PROTOCOL = 1

# What a session may do: `view` reads, `steer` changes what runs.
Right = Literal["view", "steer"]
Topic = Literal["status", "figures", "events", "flows", "failed", "log", "gates"]
Level = Literal["debug", "info", "warning", "error"]
# What a replay compares: what steps changed, what events carry, records and flow at the end.
Part = Literal["steps", "events", "state"]


class _Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A part of a message."""


# --- what a host shows ----------------------------------------------------------------------------


class Problem(_Value, frozen=True):
    """Something is wrong. `source` names it stably (`watch:orders`, `lag`), `text` says it."""

    source: str
    text: str
    time: str


class Older(_Value, frozen=True):
    """A revision that does not serve and is loaded still, as `flows` open flows end on it."""

    revision: str
    flows: int


class Followed(_Value, frozen=True):
    """An address whose newer versions in `range` come by themselves.

    `held` is one that does not, `why` says what hinders it; `problem` is why the address does not
    answer.
    """

    address: str
    range: str
    newest: str | None
    held: str | None
    why: str
    problem: str | None


class Component(_Value, frozen=True):
    """A live component. `health` is the worst of its ports, its listeners and its last save.

    It serves since `since` because `who` said so; both are empty where nobody knows any more.
    `previous` is the revision that a rollback brings back. `resolved` is what its address was then
    (a commit), `signed` the key that signed it; empty where there is none. `guest` is its sandbox,
    None of one in Python.
    """

    name: str
    version: str
    revision: str
    digest: str
    origin: str
    endpoints: tuple[str, ...]
    models: tuple[str, ...]
    previous: str | None
    health: Literal["ok", "failing", "broken"]
    problem: str | None = None
    since: str = ""
    who: str = ""
    resolved: str = ""
    signed: str = ""
    older: tuple[Older, ...] = ()
    followed: Followed | None = None
    language: Literal["python", "wasm"] = "python"
    guest: GuestStatus | None = None


class TrapLine(_Value, frozen=True):
    """A call that a sandbox stopped: when, in which code and function, why, and where it was.

    `n` counts from the host's start; `frames` are the functions from the innermost one, `places`
    where each begins in a text (`cell 4, line 17`), empty where that is not known. What it was
    called with stays behind.
    """

    n: int
    revision: str
    function: str
    time: str
    reason: str
    frames: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


class GuestLine(_Value, frozen=True):
    """What the sandbox of a component costs, and the last calls that were stopped, newest last.

    `traps` is the whole list, None where it is as it was.
    """

    component: str
    cost: GuestCost
    traps: tuple[TrapLine, ...] | None = None


class Arm(_Value, frozen=True):
    """One side of a split since it began: calls, how many raised, and of the last ones p50, p99.

    `weight` is in percent; times are in milliseconds, None before there was a call.
    """

    version: str
    digest: str
    origin: str
    weight: float
    calls: int
    errors: int
    p50: float | None
    p99: float | None
    language: Literal["python", "wasm"] = "python"


class Split(_Value, frozen=True):
    """A component with a candidate beside what is live.

    `by` is what tells who gets which: `record`, or `header:NAME`.
    """

    component: str
    by: str
    live: Arm
    candidate: Arm


class Status(_Value, frozen=True):
    """The host at a glance. `address` is where its API answers; `graph` the digest of its graph."""

    address: str
    data: str | None
    notebook: str
    graph: str
    components: tuple[Component, ...]
    problems: tuple[Problem, ...]
    waiting: tuple[str, ...]
    flows_open: int
    events: int
    failed: int


class Breaker(_Value, frozen=True):
    """A circuit breaker that is not closed: since when, and when its partner is asked again.

    `until` is None once a probe may be let through, or is on its way.
    """

    since: str
    until: str | None = None


class Figure(_Value, frozen=True):
    """The live figures of one node or edge of the graph, since the host started.

    `calls` counts events, deliveries or calls; `errors` those that failed; `running` those under
    way. `p50` and `p99` are milliseconds over the last calls, None where nothing is timed.
    `state` is what the last calls say: idle (none yet), ok, or failing (the newest all failed); or
    that of a circuit breaker which is not closed: open (its partner is not asked), or half-open (a
    probe is). `breaker` tells more of that one, of several the one that keeps waiting longest.
    """

    calls: int = 0
    errors: int = 0
    running: int = 0
    p50: float | None = None
    p99: float | None = None
    state: Literal["idle", "ok", "failing", "open", "half-open"] = "idle"
    error: str | None = None
    breaker: Breaker | None = None


class Unlike(_Value, frozen=True):
    """Something that came to something else; None where it did not come, then or now."""

    what: str
    then: str | None
    now: str | None


class Diverging(_Value, frozen=True):
    """A recorded flow, by its id, or a request, by that of its event, that is not the same now.

    `rows` are the first things that are otherwise.
    """

    id: str
    kind: Literal["flow", "request"]
    what: str
    verdict: Literal["differs", "raises"]
    error: str | None
    rows: tuple[Unlike, ...]


class GateRun(_Value, frozen=True):
    """Recorded flows and requests tried on the code at `source`, the last time for its component.

    While it is `running`, `done` of `total` are tried. `text` is the verdict, or why it failed;
    with `passes` the gate lets the code through, with `deployed` it serves now. `diverging` are the
    first of those that differ or raise.
    """

    component: str
    version: str
    digest: str
    source: str
    state: Literal["running", "done", "canceled", "failed"]
    done: int = 0
    total: int = 0
    text: str = ""
    passes: bool = False
    deployed: bool = False
    diverging: tuple[Diverging, ...] = ()
    notes: tuple[str, ...] = ()


class EventLine(_Value, frozen=True):
    """An event without its data. `seq` is its number in the journal."""

    seq: int
    id: str
    type: str
    subject: str | None
    time: str
    component: str
    flow: str | None
    cause: str | None


class StepLine(_Value, frozen=True):
    """A step of a flow. `state` as `StepState`; `cause` is the event that set it off.

    `waits` names what an open step waits for (`warehouse.picked`, `its next attempt`), `due` is
    when it waits no longer: the deadline of an answer, the time of an attempt.
    """

    n: int
    model: str
    port: str
    record: str
    state: str
    attempts: int
    updated: str
    cause: str
    error: str | None = None
    waits: str | None = None
    due: str | None = None


class FlowLine(_Value, frozen=True):
    """A flow with its steps. `state` as `FlowState`; `waits` names what it waits for.

    `root` is the event that set it off, `canceled` says that its undo was asked for.
    """

    id: str
    component: str
    version: str
    model: str
    record: str
    state: str
    created: str
    updated: str
    steps: tuple[StepLine, ...]
    error: str | None = None
    waits: str | None = None
    root: str = ""
    canceled: bool = False


class FailedLine(_Value, frozen=True):
    """What failed and can be tried again. `id` is what `RetryAsk` takes.

    `kind` is listener (an event that it could not take), answer (an event that no step waited for)
    or flow (one that ended undone, or whose undo stopped). `held` waits behind an earlier failure
    of its subject. `event` is the id of the event that was not taken, or that set off the flow.
    """

    id: str
    kind: Literal["listener", "flow", "answer"]
    what: str
    subject: str | None
    error: str
    attempts: int
    time: str
    held: bool = False
    event: str = ""


class FailedGroup(_Value, frozen=True):
    """Failures of one kind and thing, whose errors differ in ids and numbers only.

    `error` has a `#` for what differs. `first` and `last` are times. `ids` are those of its newest
    lines, 200 at most; `count` is how many there are.
    """

    id: str
    kind: Literal["listener", "flow"]
    what: str
    error: str
    count: int
    first: str
    last: str
    ids: tuple[str, ...]


class LogLine(_Value, frozen=True):
    """A line of the host's log. `source` is the logger: `host`, `http`, or a component.

    With `more` there is a traceback, which `LogAsk` fetches.
    """

    n: int
    time: str
    level: Level
    source: str
    text: str
    more: bool = False


# --- from the host --------------------------------------------------------------------------------


class Hello(_Value, frozen=True, tag_field="kind", tag="hello"):
    """A session is open. `boot` names this run of the host: after a restart cursors begin anew.

    `capability` is shown with every ask; it belongs to this session and to its `rights`.
    """

    protocol: int
    version: str
    boot: str
    capability: str
    rights: tuple[Right, ...]


class Skew(_Value, frozen=True, tag_field="kind", tag="skew"):
    """Host and view speak different protocols; `text` tells a person what to update."""

    protocol: int
    version: str
    text: str


class Frame(_Value, frozen=True, tag_field="kind", tag="frame"):
    """What changed after the cursor `since`, up to `cursor`. What did not change is left out.

    With `reset` the view forgets what it had: the frame is whole. `figures` are by the id of a node
    or edge of the graph. `events` are the newest in journal order; `skipped` counts those between
    them and the last frame that were left out. `flows`, `gates` and `guests` changed; `failed` and
    `splits` are whole lists. `rate` is events a second over the last seconds.
    """

    cursor: int
    since: int
    reset: bool
    time: str
    rate: float
    status: Status | None = None
    figures: dict[str, Figure] = {}
    events: tuple[EventLine, ...] = ()
    skipped: int = 0
    flows: tuple[FlowLine, ...] = ()
    failed: tuple[FailedLine, ...] | None = None
    log: tuple[LogLine, ...] = ()
    splits: tuple[Split, ...] | None = None
    gates: tuple[GateRun, ...] = ()
    guests: tuple[GuestLine, ...] = ()


class Reply(_Value, frozen=True, tag_field="kind", tag="reply"):
    """The answer to ask `id`: a value, or the RFC 9457 problem that kept it from one."""

    id: int
    value: Any = None
    problem: dict[str, Any] | None = None


# --- values of replies ----------------------------------------------------------------------------


class Picture(_Value, frozen=True):
    """The graph as SVG; `data` is that SVG, UTF-8, deflated (zlib) and in base64."""

    digest: str
    data: str


class EventDetail(_Value, frozen=True):
    """An event whole; `data` has public fields only."""

    line: EventLine
    data: dict[str, Any]


class FlowDetail(_Value, frozen=True):
    """A flow with its record as it is now (None when deleted), and the events of the flow."""

    flow: FlowLine
    record: dict[str, Any] | None
    events: tuple[EventLine, ...]


class FailedDetail(_Value, frozen=True):
    """What failed, with its input: what a retry is given, and may be given otherwise.

    Of a listener that is the event's data, as it was edited last, of a flow its record's. None
    where there is nothing to edit: the event has left the journal, the record is deleted, the undo
    has stopped.
    """

    line: FailedLine
    input: dict[str, Any] | None
    flow: FlowLine | None = None


class Groups(_Value, frozen=True):
    """All that failed, by what failed and why; the largest group first."""

    groups: tuple[FailedGroup, ...]


class Why(_Value, frozen=True):
    """What led to an event or a flow, and what came of it: as text, and as a picture.

    `data` is the SVG as in a Picture, None where the host draws none.
    """

    id: str
    text: str
    data: str | None


class ReplayRow(_Value, frozen=True):
    """Something that came out otherwise; None where it did not come out, then or now."""

    part: Part
    what: str
    then: str | None
    now: str | None


class Replay(_Value, frozen=True):
    """A flow run again with recorded answers on `revision`; `rows` are what is different.

    `compared` counts what was compared. `reason` says why it ended; with `stopped` that kept it
    from its end: an answer that was not recorded. `notes` are what else is to know.
    """

    id: str
    flow: str
    revision: str
    same: bool
    stopped: bool
    reason: str
    compared: int
    rows: tuple[ReplayRow, ...] = ()
    notes: tuple[str, ...] = ()


class PlanLine(_Value, frozen=True):
    """A line of a plan. `sign` is ! (breaks others), x (refuses it), +, ~, -, = or empty."""

    sign: str
    text: str


class Plan(_Value, frozen=True):
    """What a deploy of what is at `source` would make different, the gravest lines first.

    With `fits` it would be taken, with `nothing` it serves already. `digest` is that of the code
    that was looked at. `data` is the graph of before and after as SVG, as in a Picture; None where
    the host draws none.
    """

    source: str
    component: str
    version: str
    digest: str
    before: str | None
    fits: bool
    nothing: bool
    lines: tuple[PlanLine, ...]
    data: str | None


class LogDetail(_Value, frozen=True):
    """The traceback of a line of the log: of an error of component code its own lines only."""

    text: str


class Description(_Value, frozen=True):
    """The OpenAPI document of the host's API."""

    document: dict[str, Any]


class Done(_Value, frozen=True):
    """It was done; `text` says what, in one line."""

    text: str


# --- from a view ----------------------------------------------------------------------------------


class Open(_Value, frozen=True, tag_field="kind", tag="open"):
    """Begin a session, or go on with one after `cursor` of run `boot`.

    `topics` is what frames shall hold; `pattern` which events.
    """

    protocol: int
    version: str
    topics: tuple[Topic, ...] = (
        "status",
        "figures",
        "events",
        "flows",
        "failed",
        "log",
        "gates",
    )
    rights: tuple[Right, ...] = ("view",)
    pattern: str = "*"
    boot: str | None = None
    cursor: int = 0


class Ack(_Value, frozen=True, tag_field="kind", tag="ack"):
    """The view has taken the frame that ended at `cursor`.

    Said again after a silence, it asks for what was lost on the way since.
    """

    cursor: int


class PictureAsk(_Value, frozen=True, tag_field="verb", tag="picture"):
    """The picture of the graph as it is now."""

    right: ClassVar[Right] = "view"
    answer: ClassVar[type] = Picture


class EventAsk(_Value, frozen=True, tag_field="verb", tag="event"):
    """An event by its number."""

    right: ClassVar[Right] = "view"
    answer: ClassVar[type] = EventDetail
    seq: int


class FlowAsk(_Value, frozen=True, tag_field="verb", tag="flow"):
    """A flow by its id."""

    right: ClassVar[Right] = "view"
    answer: ClassVar[type] = FlowDetail
    id: str


class DescriptionAsk(_Value, frozen=True, tag_field="verb", tag="description"):
    """What the API offers, told here so that no view needs to reach the API, or its token."""

    right: ClassVar[Right] = "view"
    answer: ClassVar[type] = Description


class LogAsk(_Value, frozen=True, tag_field="verb", tag="log"):
    """The traceback of a line of the log, by its number."""

    right: ClassVar[Right] = "view"
    answer: ClassVar[type] = LogDetail
    n: int


class FailedAsk(_Value, frozen=True, tag_field="verb", tag="failed"):
    """What failed, with its input: a line of the failed list, by its id."""

    right: ClassVar[Right] = "view"
    answer: ClassVar[type] = FailedDetail
    id: str


class GroupsAsk(_Value, frozen=True, tag_field="verb", tag="groups"):
    """The failed list, grouped by error."""

    right: ClassVar[Right] = "view"
    answer: ClassVar[type] = Groups


class WhyAsk(_Value, frozen=True, tag_field="verb", tag="why"):
    """What led to an event or a flow, by its id."""

    right: ClassVar[Right] = "view"
    answer: ClassVar[type] = Why
    id: str


class ReplayAsk(_Value, frozen=True, tag_field="verb", tag="replay"):
    """Run an event or a flow, by its id, again on a copy of the data; nothing real is touched."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Replay
    id: str


class ReplayTrapAsk(_Value, frozen=True, tag_field="verb", tag="replay_trap"):
    """Make a call again that a sandbox stopped, by its number, on the live code.

    It has an instance of its own and the answers of then: nothing real is touched.
    """

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = TrapOutcome
    component: str
    n: int


class ContinueAsk(_Value, frozen=True, tag_field="verb", tag="continue"):
    """Go on with the undo of a flow where it stopped."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    id: str


class SkipAsk(_Value, frozen=True, tag_field="verb", tag="skip"):
    """Leave the step as it is whose undo stopped, and go on with the earlier ones."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    id: str


class RetryAsk(_Value, frozen=True, tag_field="verb", tag="retry"):
    """Try again what failed, a line of the failed list by its id: with its input or with `data`.

    Of a listener `data` takes the place of the event's, of a flow it has fields of the record that
    are changed first.
    """

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    id: str
    data: dict[str, Any] | None = None


class DiscardAsk(_Value, frozen=True, tag_field="verb", tag="discard"):
    """Take a line off the failed list for good."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    id: str


class RetryGroupAsk(_Value, frozen=True, tag_field="verb", tag="retry_group"):
    """Try again the failures of a group, by its id: the oldest hundred."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    id: str


class DiscardGroupAsk(_Value, frozen=True, tag_field="verb", tag="discard_group"):
    """Take the failures of a group off the failed list for good, by its id: the oldest hundred."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    id: str


class ResumeAsk(_Value, frozen=True, tag_field="verb", tag="resume"):
    """Load the code that open flows wait for."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done


class RollbackAsk(_Value, frozen=True, tag_field="verb", tag="rollback"):
    """Serve the revision before this one again."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    component: str


class PlanAsk(_Value, frozen=True, tag_field="verb", tag="plan"):
    """What a deploy of the component at an address would make different; nothing changes.

    Its code is loaded and let go, so it takes the right to steer.
    """

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Plan
    source: str


class DeployAsk(_Value, frozen=True, tag_field="verb", tag="deploy"):
    """Deploy the component at an address; with `digest` only if it is still that code."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    source: str
    digest: str | None = None


class GateAsk(_Value, frozen=True, tag_field="verb", tag="gate"):
    """Try recorded flows and requests on the code at an address; frames tell how far that is.

    With `digest` only if it is still that code, with `deploy` what passes serves then.
    """

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    source: str
    digest: str | None = None
    deploy: bool = False


class CancelGateAsk(_Value, frozen=True, tag_field="verb", tag="cancel_gate"):
    """End a gate that is under way."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    component: str


class SplitAsk(_Value, frozen=True, tag_field="verb", tag="split"):
    """Let what is at an address serve `weight` percent of the records beside what is live.

    With `digest` only if it is still that code. `by` as in a Split.
    """

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    source: str
    weight: float
    digest: str | None = None
    by: str | None = None


class WeighAsk(_Value, frozen=True, tag_field="verb", tag="weigh"):
    """Let the candidate of a split serve another share, in percent."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    component: str
    weight: float


class PromoteAsk(_Value, frozen=True, tag_field="verb", tag="promote"):
    """Make the candidate of a split live, for all."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    component: str


class DropAsk(_Value, frozen=True, tag_field="verb", tag="drop"):
    """End a split: what is live serves all again."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    component: str


class UndeployAsk(_Value, frozen=True, tag_field="verb", tag="undeploy"):
    """Stop serving a component; its records stay."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    component: str


class InvokeAsk(_Value, frozen=True, tag_field="verb", tag="invoke"):
    """Run a port or a command of a record. `target` is a node of the graph."""

    right: ClassVar[Right] = "steer"
    answer: ClassVar[type] = Done
    target: str
    record: str
    arguments: dict[str, Any] = {}


Verb = (
    PictureAsk
    | EventAsk
    | FlowAsk
    | DescriptionAsk
    | LogAsk
    | FailedAsk
    | GroupsAsk
    | WhyAsk
    | ReplayAsk
    | ReplayTrapAsk
    | ContinueAsk
    | SkipAsk
    | RetryAsk
    | DiscardAsk
    | RetryGroupAsk
    | DiscardGroupAsk
    | ResumeAsk
    | PlanAsk
    | DeployAsk
    | GateAsk
    | CancelGateAsk
    | SplitAsk
    | WeighAsk
    | PromoteAsk
    | DropAsk
    | RollbackAsk
    | UndeployAsk
    | InvokeAsk
)


class Ask(_Value, frozen=True, tag_field="kind", tag="ask"):
    """Ask the host for something; `id` comes back in the reply."""

    id: int
    capability: str
    ask: Verb


FromHost = Hello | Skew | Frame | Reply
FromView = Open | Ack | Ask
