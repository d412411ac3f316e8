"""Signals that ask the run to stop: noted, never an exception in the middle of things."""
import selectors
import signal
import socket

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While open, @selector wakes up when one of the signals came; @stop is then called."""

    def __init__(self, selector, stop):
        self._stop = stop
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        selector.register(self._reader, selectors.EVENT_READ, self)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, self._come) for number in NUMBERS}

    def _come(self, number, _frame):
        self._stop(f"stopped by {signal.Signals(number).name}")

    def drain(self):
        try:
            self._reader.recv(64)
        except BlockingIOError:
            pass

    def close(self):
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._reader.close()
        self._writer.close()
