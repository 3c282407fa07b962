"""Characteristic and service numbers as the 128-bit strings the radio uses."""


def sig_uuid(number: int) -> str:
    """128-bit text of a 16-bit number assigned by the Bluetooth SIG.

    Long and lower-case on purpose: a scanner filter with the short form
    matches nothing on BlueZ, without a word.
    """
    return f"0000{number:04x}-0000-1000-8000-00805f9b34fb"
