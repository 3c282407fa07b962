"""Names of the broker in its certificate: a slip is said before there is an authority."""

import pytest
from cryptography import x509

from flows.cli import main


@pytest.mark.parametrize("host", ["mqtt.example.org:8883", "bad host", "müller.example", "", "-x"])
def test_what_no_gateway_would_accept_founds_no_authority(tmp_path, capsys, host):
    assert main(["ca", "init", "--home", str(tmp_path), f"--host={host}"]) == 2
    assert f"host {host!r} is neither" in capsys.readouterr().err
    assert not (tmp_path / "ca").exists()


def test_names_and_addresses_stand_in_the_certificate(tmp_path):
    arguments = ["--host", "mqtt.example.org", "--host", "192.0.2.7", "--host", "2001:db8::7"]
    assert main(["ca", "init", "--home", str(tmp_path), *arguments]) == 0
    pem = (tmp_path / "ca" / "broker" / "broker.crt").read_bytes()
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["mqtt.example.org", "localhost"]
    assert [str(one) for one in names.value.get_values_for_type(x509.IPAddress)] == [
        "192.0.2.7",
        "2001:db8::7",
        "127.0.0.1",
    ]
