"""What the server counts, as Prometheus text (exposition format 0.0.4) and as the few numbers of the status page.

Counters only, added under one lock; speed is tokens between two looks at a monotonic clock, for display.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque

WINDOW_S = 10.0  # the status page's tokens/s is a mean over this long


class Metrics:
    """Counters of one server, shared by its engines."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[tuple[str, int]] = Counter()  # (route, HTTP status)
        self.prompt_tokens = 0
        self.answer_tokens = 0
        self.swaps = 0
        self.refused_releases = 0
        self._recent: deque[tuple[float, int]] = deque()

    def add_request(self, route: str, status: int) -> None:
        """Count one answered HTTP request."""
        with self._lock:
            self.requests[route, status] += 1

    def add_prompt(self, num_tokens: int) -> None:
        """Count prompt tokens read."""
        with self._lock:
            self.prompt_tokens += num_tokens

    def add_answer(self, num_tokens: int) -> None:
        """Count tokens generated in one step."""
        now = time.monotonic()
        with self._lock:
            self.answer_tokens += num_tokens
            self._recent.append((now, num_tokens))
            while self._recent[0][0] < now - WINDOW_S:
                self._recent.popleft()

    def tokens_per_s(self) -> float:
        """Mean generated tokens a second over the last `WINDOW_S` seconds."""
        since = time.monotonic() - WINDOW_S
        with self._lock:
            return sum(number for at, number in self._recent if at >= since) / WINDOW_S

    def prometheus(self, *, release: str, running: int, waiting: int, slots: int) -> str:
        """The page of `/metrics`."""
        with self._lock:
            requests = sorted(self.requests.items())
            counters = {
                "prompt_tokens_total": ("counter", "Prompt tokens read.", self.prompt_tokens),
                "generated_tokens_total": ("counter", "Tokens generated.", self.answer_tokens),
                "swaps_total": ("counter", "Releases swapped in.", self.swaps),
                "refused_releases_total": ("counter", "Releases found broken and not served.", self.refused_releases),
                "sequences_running": ("gauge", "Sequences being answered.", running),
                "sequences_waiting": ("gauge", "Sequences waiting for a slot.", waiting),
                "slots": ("gauge", "Sequences that can be answered at once.", slots),
            }
        lines = [
            "# HELP clet_requests_total Requests for answers, and refused ones, by HTTP status.",
            "# TYPE clet_requests_total counter",
        ]
        for (route, status), number in requests:
            lines.append(f'clet_requests_total{{route="{route}",status="{status}"}} {number}')
        for name, (kind, text, value) in counters.items():
            lines += [f"# HELP clet_{name} {text}", f"# TYPE clet_{name} {kind}", f"clet_{name} {value}"]
        escaped = release.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines += ["# HELP clet_release_info The release that answers.", "# TYPE clet_release_info gauge"]
        lines.append(f'clet_release_info{{release="{escaped}"}} 1')
        return "\n".join(lines) + "\n"
