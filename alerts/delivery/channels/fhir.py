"""FHIR R4: the alert as resources in the hospital's record, as far as its server takes them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import httpx

from alerts.delivery.channels.channel import SENT, Outcome, permanent
from alerts.delivery.channels.http import check_address, make_client, outcome_of, unanswered
from alerts.delivery.fhir.bundle import NEEDED, message, query, transaction
from alerts.delivery.fhir.codes import IDENTIFIERS
from alerts.delivery.notice import ClinicalAlert, Notice
from devices.clock import HOUR

#: A server may be upgraded; what it could do is asked again after this long.
ASK_AGAIN = HOUR
_JSON = "application/fhir+json"

#: Without one of these in the record, a message is all that can be left.
STANDING = {"Flag", "Task"}

PatientReference = Literal["logical", "conditional"]


class Fhir:
    """Writes to a FHIR R4 server.

    Parameters
    ----------
    url : str
        Base address; https always.
    allow_hosts : sequence of str
        Hosts that may be called at all.
    name : str
        Name by which routes refer to it.
    patient_system : str
        System of the identifier by which the server knows our patients.
    patient_reference : str
        logical: the identifier itself; conditional: the server looks the patient up in the transaction.
    recipients : mapping
        Recipient -> reference (`Practitioner/12`); others are named in words.
    token : str, optional
        Bearer token.
    client : httpx.Client, optional
        HTTP client; made when not given.

    Raises
    ------
    ChannelError
        When the address cannot be used.
    """

    is_clinical = True

    def __init__(
        self,
        url: str,
        allow_hosts: Sequence[str],
        *,
        name: str,
        patient_system: str,
        patient_reference: PatientReference = "logical",
        recipients: Mapping[str, str] | None = None,
        token: str | None = None,
        client: httpx.Client | None = None,
    ) -> None:
        check_address(url, allow_hosts, is_clinical=True)
        self.name = name
        self.recipients: tuple[str, ...] = tuple(recipients or ())
        self._known = dict(recipients or {})
        self._url = url.rstrip("/")
        self._patient_system = patient_system
        self._patient_reference = patient_reference
        self._client = client or make_client()
        self._headers = {"accept": _JSON, "content-type": _JSON}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._ability: tuple[int, dict[str, Any]] | None = None

    def send(self, notice: Notice, attempt_utc: int) -> Outcome:
        """Write the notice; see :class:`~alerts.delivery.channels.channel.Channel`."""
        try:
            return self._send(notice, attempt_utc)
        except httpx.HTTPError as fault:
            return unanswered(fault)

    def _send(self, notice: Notice, attempt_utc: int) -> Outcome:
        statement = self._capabilities(attempt_utc)
        if isinstance(statement, Outcome):
            return statement
        who = self._recipient(notice.recipient)
        takes = writable(statement)
        if takes & STANDING:
            bundle = transaction(notice, attempt_utc, subject=self._subject, recipient=who, takes=takes)
            return outcome_of(self._post(self._url, bundle), attempt_utc)
        if "create" in _interactions(statement, "Communication"):
            return self._communicate(message(notice, attempt_utc, recipient=who), statement, attempt_utc)
        return permanent("the server takes neither transactions nor a Communication")

    def _communicate(self, told: dict[str, Any], statement: dict[str, Any], attempt_utc: int) -> Outcome:
        """A Communication by itself; where creation is not conditional, looked for first."""
        where = f"{self._url}/Communication"
        if _resource(statement, "Communication").get("conditionalCreate") is True:
            return outcome_of(self._post(where, told, if_none_exist=query(told)), attempt_utc)
        found = self._client.get(
            where,
            params={"identifier": f"{IDENTIFIERS}|{told['identifier'][0]['value']}"},
            headers=self._headers,
            follow_redirects=False,
        )
        if not found.is_success:
            return outcome_of(found, attempt_utc)
        return SENT if _json(found).get("entry") else outcome_of(self._post(where, told), attempt_utc)

    def _capabilities(self, attempt_utc: int) -> dict[str, Any] | Outcome:
        """What the server says it can do, or why it cannot be asked."""
        if self._ability is not None and attempt_utc - self._ability[0] < ASK_AGAIN:
            return self._ability[1]
        answer = self._client.get(f"{self._url}/metadata", headers=self._headers, follow_redirects=False)
        if not answer.is_success:
            return outcome_of(answer, attempt_utc)
        statement = _json(answer)
        if not str(statement.get("fhirVersion", "")).startswith("4.0"):
            return permanent("the server does not speak FHIR R4")
        self._ability = (attempt_utc, statement)
        return statement

    def _post(
        self, url: str, resource: dict[str, Any], *, if_none_exist: str | None = None
    ) -> httpx.Response:
        headers = self._headers | ({"if-none-exist": if_none_exist} if if_none_exist else {})
        return self._client.post(url, json=resource, headers=headers, follow_redirects=False)

    def _subject(self, alert: ClinicalAlert) -> dict[str, Any]:
        if self._patient_reference == "conditional":
            return {"reference": f"Patient?identifier={self._patient_system}|{alert.patient}"}
        return {
            "type": "Patient",
            "identifier": {"system": self._patient_system, "value": alert.patient},
        }

    def _recipient(self, recipient: str) -> dict[str, Any]:
        reference = self._known.get(recipient)
        return {"reference": reference} if reference else {"display": recipient}


def writable(statement: dict[str, Any]) -> set[str]:
    """Resources of a notice that a server takes in a transaction, by its CapabilityStatement."""
    if not any(one.get("code") == "transaction" for one in _rest(statement).get("interaction", ())):
        return set()
    return {kind for kind, wanted in NEEDED.items() if _can(statement, kind, wanted)}


def _can(statement: dict[str, Any], kind: str, wanted: tuple[str, ...]) -> bool:
    """Whether all of it is possible, and by condition: a repeat must not make a second one."""
    resource = _resource(statement, kind)
    return set(wanted) <= _interactions(statement, kind) and all(
        resource.get(f"conditional{what.capitalize()}") is True for what in wanted
    )


def _rest(statement: dict[str, Any]) -> dict[str, Any]:
    return next((one for one in statement.get("rest", ()) if one.get("mode") == "server"), {})


def _resource(statement: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((one for one in _rest(statement).get("resource", ()) if one.get("type") == kind), {})


def _interactions(statement: dict[str, Any], kind: str) -> set[str]:
    return {str(one.get("code")) for one in _resource(statement, kind).get("interaction", ())}


def _json(answer: httpx.Response) -> dict[str, Any]:
    """An answer's object; empty when it is none."""
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
