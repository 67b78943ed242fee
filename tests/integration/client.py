# SPDX-License-Identifier: Apache-2.0
"""A client of the API that starts one migration, as often as that takes, and follows it to its end."""
import threading

import grpc

import messages
from processes import LIMIT

M = messages.migration
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 20),
            ("grpc.min_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 100)]
# What a coordinator that dies, or is not there, makes of a call.
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED,
          grpc.StatusCode.DEADLINE_EXCEEDED)


class Client:
    """`view`: the migration as last seen. `ended`: it is at its end, or waits for an operator who will not come."""

    def __init__(self, run, spec):
        self.run, self.spec = run, spec
        self.view, self.ended, self.closed, self.error = None, False, False, None
        self._known = False
        self._asked = set()      # what has been released, cancelled or decided
        self._channel = grpc.insecure_channel(run.stack.address, _OPTIONS)
        self._api = messages.lockstep(self._channel)
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self):
        try:
            while not self.ended and not self.closed:
                self._follow()
        except Exception as error:  # pylint: disable=broad-except
            if not self.closed:
                self.error = error
                self._end()
        with self.run.changed:
            self.run.changed.wait_for(lambda: self.closed)  # what it started dies with this thread

    def _end(self):
        with self.run.changed:
            self.ended = True
            self.run.changed.notify_all()

    def close(self):
        self.closed = True
        with self.run.changed:
            self.run.changed.notify_all()
        self._channel.close()
        self._thread.join(LIMIT)

    def _call(self, method, request):
        """The answer, or None where the coordinator refuses; as often as it takes to reach it."""
        while not self.closed:
            try:
                return getattr(self._api, method)(request, timeout=LIMIT, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() not in _AGAIN:
                    return None
        return None

    def _follow(self):
        if not self._known:
            self._known = self._call("Start", M.StartRequest(spec=self.spec, actor="test")) is not None
            if not self._known:
                raise AssertionError("Start was refused")
        try:
            for view in self._api.Watch(M.GetRequest(id=self.spec.id), timeout=LIMIT * 4, wait_for_ready=True):
                if not self._see(view):
                    return
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                self._wait_heard()   # a coordinator that lost its store has not found it yet
            elif error.code() not in _AGAIN:
                raise

    def _wait_heard(self):
        """Until the coordinator says something more."""
        run = self.run
        with run.changed:
            before = run.said.get("lockstepd", 0)
            run.changed.wait_for(lambda: self.closed or run.said.get("lockstepd", 0) != before, 1)

    def _see(self, view):
        """Is there more to see, as far as this stream tells?"""
        flow = self.run.flow
        with self.run.changed:
            self.view = view
            self.run.changed.notify_all()
        if view.waiting_at and view.waiting_at == flow.cancel_at:
            self._once("Cancel", M.CancelRequest(id=self.spec.id, actor="test"))
        elif view.waiting_at and view.waiting_at in flow.hold:
            self._once("Release", M.ReleaseRequest(id=self.spec.id, gate=view.waiting_at, actor="test"))
        decision = flow.resolve(self.run, view)
        if decision:
            return self._decide(decision)
        if view.phase >= M.PHASE_DONE:
            self._end()
        return not self.ended

    def _once(self, method, request):
        key = (method, request.SerializeToString())
        if key not in self._asked:
            self._asked.add(key)
            self._call(method, request)

    def _decide(self, request):
        """What is refused now may be open when something more has been heard."""
        key = request.SerializeToString()
        if key in self._asked:
            return True
        if self._call("Resolve", request) is None:
            self._wait_heard()
            return False
        self._asked.add(key)
        return True
