"""Alerts at a hospital: a server and a validator that are not ours take what we write, once."""

import json
import re
from dataclasses import replace

import httpx
import pytest

from alerts.delivery.channels.channel import SENT, permanent
from alerts.delivery.channels.fhir import Fhir, writable
from alerts.delivery.fhir import resources
from alerts.delivery.fhir.bundle import transaction
from alerts.delivery.fhir.codes import LOINC, REQUIRED, SDNN_LOINC, code
from alerts.delivery.notice import ClinicalAlert
from alerts.errors import ChannelError
from analytics.metrics import REGISTRY
from devices.clock import DAY, HOUR
from flows.cli import main
from tests.fixtures_alerts import Hands
from tests.fixtures_delivery import notice
from tests.fixtures_fhir import hospital, validated

NOW = Hands()()
SYSTEM = "urn:clinic:patient"
SUBJECT = {"type": "Patient", "identifier": {"system": SYSTEM, "value": "p-7"}}


def alert(**changes):
    """An alert with everything that can stand in one."""
    fields = {
        "alert": "A-7F3QKX",
        "patient": "p-7",
        "rule": "deviation-3d",
        "rule_version": 2,
        "severity": "high",
        "status": "open",
        "local_date": "2026-11-24",
        "zone": "Europe/Berlin",
        "sentence": "Steps fell from 6,200 to 2,100, sleep from 6.8 to 4.1 h.",
        "readings": {
            "flare_risk.deviation": -1.7,
            "flare_risk.cell_count": 9,
            "flare_risk.risk_7d": 0.31,
            "patient_day.steps": 2100,
            "patient_day.tst_min": 246.0,
            "patient_day.rmssd_ms": 18.5,
            "patient_day.nrs": 8.0,
            "patient_day.is_flare_reported": True,
            "patient_day.wear_min": None,
            "baseline.z.steps": -2.1,
        },
        "opened_utc": NOW,
        "due_utc": NOW + DAY,
        "steps": ("Call within 24 h", "Offer: graded activity, after asking about recent fractures"),
    }
    return ClinicalAlert(**fields | changes)


def told(event="opened", *alerts, key="k1"):
    return notice(event, key=key, clinical=alerts or (alert(),))


def bundle(one):
    return transaction(one, NOW, subject=lambda _: SUBJECT, recipient={"display": "nurse-1"})


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with hospital(tmp_path_factory.mktemp("hospital")) as one:
        yield one


def channel(site, **options):
    url, client = (site.url, site.client) if site else ("https://127.0.0.1/fhir", None)
    defaults = {"name": "ehr", "patient_system": SYSTEM, "client": client}
    return Fhir(url, ["127.0.0.1"], **defaults | options)


def test_a_server_that_is_not_ours_takes_the_whole_once_and_closes_it(site):
    ehr = channel(site)
    for attempt in range(3):
        assert ehr.send(told(), NOW + attempt * HOUR) == SENT
    kinds = ("Observation", "RiskAssessment", "Flag", "Task", "Communication")
    assert {kind: len(site.all_of(kind)) for kind in kinds} == dict.fromkeys(kinds, 1) | {"Observation": 4}
    (flag,), (task,) = site.all_of("Flag"), site.all_of("Task")
    assert (flag["status"], task["status"], task["priority"]) == ("active", "requested", "asap")
    assert task["focus"]["reference"] == f"Flag/{flag['id']}"
    (risk,) = site.all_of("RiskAssessment")
    assert risk["prediction"][0]["probabilityDecimal"] == 0.31
    assert len(risk["basis"]) == 4

    over = alert(status="resolved", resolved_utc=NOW + DAY)
    assert ehr.send(told("resolved", over, key="k2"), NOW + DAY) == SENT
    (flag,), (task,) = site.all_of("Flag"), site.all_of("Task")
    assert (flag["status"], task["status"]) == ("inactive", "completed")
    assert flag["period"]["end"]
    assert len(site.all_of("Communication")) == 2


def test_a_repeat_and_an_escalation_add_a_message_each_and_nothing_else(site):
    ehr = channel(site)
    one = alert(alert="A-REPEAT2")
    before = len(site.all_of("Communication"))
    for event, key in (("opened", "r1"), ("repeated", "r2"), ("escalated", "r3")):
        assert ehr.send(told(event, one, key=key), NOW) == SENT
    mine = [flag for flag in site.all_of("Flag") if flag["identifier"][0]["value"].startswith("A-REPEAT2")]
    assert len(mine) == 1
    assert len(site.all_of("Communication")) == before + 3


def test_the_patient_may_be_looked_up_by_the_server(site):
    known = {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": "p-9"}]}
    made = site.client.post(f"{site.url}/Patient", json=known).raise_for_status().json()
    ehr = channel(site, patient_reference="conditional")
    assert ehr.send(told("opened", alert(alert="A-PATNT9", patient="p-9"), key="p9"), NOW) == SENT
    flags = [one for one in site.all_of("Flag") if one["identifier"][0]["value"] == "A-PATNT9-flag"]
    assert flags[0]["subject"]["reference"] == f"Patient/{made['id']}"
    unknown = told("opened", alert(alert="A-PATNT8", patient="p-8"), key="p8")
    assert ehr.send(unknown, NOW).kind == "permanent"


def test_the_validator_has_nothing_to_say():
    bundles = [
        bundle(told()),
        bundle(told("opened", alert(readings={}, steps=(), due_utc=None, local_date=None))),
        bundle(told("resolved", alert(status="resolved", resolved_utc=NOW + DAY))),
        bundle(told("escalated", alert(), alert(alert="A-8G4RLY", severity="critical", status="acked"))),
        bundle(notice("test")),
        bundle(notice("technical")),
    ]
    everything = bundles + [entry["resource"] for one in bundles for entry in one["entry"]]
    everything += [
        resources.observation(alert(), metric, 1, SUBJECT, "2026-11-24") for metric in REGISTRY.values()
    ]
    kinds = {one["resourceType"] for one in everything}
    assert kinds == {"Bundle", "Observation", "RiskAssessment", "Flag", "Task", "Communication"}
    for one, said in zip(everything, validated(everything), strict=True):
        assert not [what for what in said if what["severity"] not in ("info", "warning")], (one, said)
        assert all(
            what["location"] == "Observation.code" for what in said if what["severity"] == "warning"
        ), "it has no LOINC, and asks for none: the binding of the code is an example"


def test_a_pathway_goes_out_as_a_plan_definition_that_the_validator_takes(tmp_path, capsys):
    assert main(["alerts", "pathways", "--fhir", "--home", str(tmp_path)]) == 0
    plan = json.loads(capsys.readouterr().out)
    (said,) = validated([plan])
    assert not [what for what in said if what["severity"] == "error"], said
    assert (plan["status"], plan["experimental"]) == ("draft", True)
    (action,) = plan["action"]
    assert [one["id"] for one in action["action"]] == [
        "call",
        "red-flags",
        "graded-activity",
        "cbt-i",
        "visit",
    ]
    assert len(action["action"][2]["condition"]) == 3
    for changed in (plan | {"status": "nonsense"}, plan | {"action": [action | {"condition": [{}]}]}):
        assert any(what["severity"] == "error" for what in validated([changed])[0])


#: Resource -> field -> a code that is none.
WRONG = [
    ("Observation", "status", "done"),
    ("RiskAssessment", "status", "done"),
    ("Flag", "status", "on"),
    ("Task", "status", "todo"),
    ("Task", "intent", "wish"),
    ("Task", "priority", "soon"),
    ("Communication", "status", "sent"),
    ("Communication", "priority", "soon"),
]


@pytest.mark.parametrize(("kind", "name", "value"), WRONG)
def test_the_validator_would_have_said_so(kind, name, value):
    """The check can fail: a wrong code in any required field is found."""
    one = next(
        entry["resource"] for entry in bundle(told())["entry"] if entry["resource"]["resourceType"] == kind
    )
    changed = one | {name: value}
    (said,) = validated([changed])
    assert any(what["severity"] == "error" and what["location"] == f"{kind}.{name}" for what in said), said


def test_a_code_that_is_none_is_refused_before_it_leaves():
    for value_set, codes in REQUIRED.items():
        assert all(code(value_set, one) == one for one in codes)
        with pytest.raises(ChannelError, match=value_set):
            code(value_set, "nonsense")


def test_codes_and_units_are_those_of_the_registry_and_rmssd_is_not_sdnn():
    for metric in REGISTRY.values():
        made = resources.observation(alert(), metric, 1, SUBJECT, "2026-11-24")
        (coding,) = made["code"]["coding"]
        assert coding["code"] == metric.code
        assert (coding["system"] == LOINC) == (metric.loinc is not None)
        assert made["valueQuantity"]["code"] == metric.unit
        assert (coding["code"] == SDNN_LOINC) == metric.id.startswith("sdnn")
    mistaken = replace(REGISTRY["rmssd_ms"], loinc=SDNN_LOINC)
    with pytest.raises(ChannelError, match="not SDNN"):
        resources.observation(alert(), mistaken, 1, SUBJECT, "2026-11-24")


# -- servers that can do less ------------------------------------------------------------------------


class Server(httpx.BaseTransport):
    """A server by its CapabilityStatement; remembers what was written."""

    def __init__(self, statement, *, found=0, status=201):
        self.statement, self.found, self.status = statement, found, status
        self.written = []

    def handle_request(self, request):
        if request.url.path.endswith("/metadata"):
            return httpx.Response(200, json=self.statement)
        if request.method == "GET":
            return httpx.Response(200, json={"resourceType": "Bundle", "entry": [{}] * self.found})
        self.written.append((request.url.path, request.headers, json.loads(request.content)))
        return httpx.Response(self.status, headers={"retry-after": "9"})


def statement(*kinds, transaction=True, conditional=True, version="4.0.1"):
    resource = {
        "conditionalCreate": conditional,
        "conditionalUpdate": conditional,
        "interaction": [{"code": "create"}, {"code": "update"}],
    }
    return {
        "resourceType": "CapabilityStatement",
        "fhirVersion": version,
        "rest": [
            {
                "mode": "server",
                "interaction": [{"code": "transaction"}] if transaction else [],
                "resource": [{"type": kind, **resource} for kind in kinds],
            }
        ],
    }


ALL = ("Observation", "RiskAssessment", "Flag", "Task", "Communication")


@pytest.mark.parametrize(
    ("what", "takes"),
    [
        (statement(*ALL), set(ALL)),
        (statement(*ALL[1:]), set(ALL[1:])),
        (statement(*ALL, transaction=False), set()),
        (statement(*ALL, conditional=False), set()),
        ({}, set()),
    ],
)
def test_what_a_server_takes(what, takes):
    assert writable(what) == takes


@pytest.mark.parametrize("missing", ALL)
def test_what_it_does_not_take_is_left_out_with_every_reference_to_it(missing):
    server = Server(statement(*(kind for kind in ALL if kind != missing)))
    assert limited(server).send(told(), NOW) == SENT
    ((_, _, written),) = server.written
    assert {entry["resource"]["resourceType"] for entry in written["entry"]} == set(ALL) - {missing}
    made = {entry["fullUrl"] for entry in written["entry"]}
    named = set(re.findall(r'"reference": "(urn:uuid:[^"]+)"', json.dumps(written)))
    assert named <= made
    assert not [what for what in validated([written])[0] if what["severity"] == "error"]


def limited(server, **options):
    return channel(None, client=httpx.Client(transport=server), **options)


def test_a_server_that_only_takes_a_communication_gets_a_thin_one():
    server = Server(statement("Communication"))
    assert limited(server, token="secret-token").send(told(), NOW) == SENT
    ((path, headers, written),) = server.written
    assert path == "/fhir/Communication"
    assert headers["if-none-exist"].startswith("identifier=urn:flarecast:id|m-")
    assert headers["authorization"] == "Bearer secret-token"
    text = json.dumps(written)
    assert written["payload"][0]["contentString"].startswith("RPM: 2 alerts need review")
    assert all(word not in text for word in ("p-7", "Steps", "deviation", SYSTEM))


@pytest.mark.parametrize(("found", "written"), [(0, 1), (1, 0)])
def test_without_conditional_creation_it_is_looked_for_first(found, written):
    server = Server(statement("Communication", conditional=False), found=found)
    assert limited(server).send(told(), NOW) == SENT
    assert len(server.written) == written


def test_what_it_does_not_take_is_for_the_next_channel():
    assert limited(Server(statement("Patient", "Observation"))).send(told(), NOW).kind == "permanent"
    assert limited(Server(statement(*ALL, version="5.0.0"))).send(told(), NOW) == permanent(
        "the server does not speak FHIR R4"
    )
    assert limited(Server(statement(*ALL), status=422)).send(told(), NOW) == permanent("HTTP 422")
    busy = limited(Server(statement(*ALL), status=503)).send(told(), NOW)
    assert (busy.kind, busy.retry_after_s) == ("transient", 9.0)


def test_only_over_tls_and_only_where_it_may_go():
    with pytest.raises(ChannelError, match="https"):
        Fhir("http://127.0.0.1/fhir", ["127.0.0.1"], name="ehr", patient_system=SYSTEM)
    with pytest.raises(ChannelError, match="not among the allowed"):
        Fhir("https://elsewhere.example/fhir", ["127.0.0.1"], name="ehr", patient_system=SYSTEM)
