"""Generated corpora: the same bytes from the same seed on every machine."""

import os
import random

WORDS = 3000


def vocabulary(seed, count=WORDS):
    """Words with the lengths of a language, common ones first."""
    numbers = random.Random(seed)
    letters = "etaoinshrdlcumwfgypbvkjxqz"
    weights = [12, 9, 8, 8, 7, 7, 6, 6, 6, 4, 4, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 0.2, 0.2, 0.1, 0.1]
    words = []
    for _ in range(count):
        length = 2 + min(int(numbers.expovariate(0.28)), 11)
        words.append("".join(numbers.choices(letters, weights, k=length)))
    return words


def zipf(count):
    """Cumulative weights of a vocabulary: the n-th as often as 1/n."""
    total, sums = 0.0, []
    for rank in range(count):
        total += 1 / (rank + 2)
        sums.append(total)
    return sums


class Text:
    """Prose, the words as common as in a language."""

    def __init__(self, seed):
        self.words = vocabulary(1)
        self.sums = zipf(len(self.words))
        self.numbers = random.Random(seed)

    def some(self, count):
        """Returns so many words."""
        return self.numbers.choices(self.words, cum_weights=self.sums, k=count)

    def prose(self, length):
        """Returns about so many characters in lines."""
        words = self.some(max(1, length // 6))
        lines = [" ".join(words[at : at + 11]) for at in range(0, len(words), 11)]
        return ".\n".join(line.capitalize() for line in lines) + ".\n"


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


# Logs.


def logs(root, size):
    """Writes about `size` bytes of three kinds of logs, rotated at different sizes up to 64 MB."""
    kinds = [
        ("nginx/access.log", access_lines, 0.45),
        ("syslog", syslog_lines, 0.30),
        ("app/events.jsonl", json_lines, 0.25),
    ]
    for seed, (name, lines, part) in enumerate(kinds):
        left, number = int(size * part), 0
        source = lines(Text(100 + seed))
        while left > 0:
            # The newest log is the smallest, old ones are as big as rotation lets them be.
            length = min(left, min(64_000_000, size // 5) >> (3 - min(number, 3)))
            path = os.path.join(root, name if number == 0 else f"{name}.{number}")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            left -= write_lines(path, source, length)
            number += 1


def write_lines(path, lines, length):
    """Writes lines up to a length; returns it."""
    written = 0
    with open(path, "w", encoding="ascii") as file:
        while written < length:
            written += file.write(next(lines))
    return written


def clock(numbers):
    """Yields seconds and milliseconds of a day in September, as events come."""
    now = 0.0
    while True:
        now += numbers.expovariate(40)
        second = int(now)
        yield (
            1 + second // 86400 % 28,
            f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}",
            int(now % 1 * 1000),
        )


def access_lines(text):
    """A web server's log."""
    numbers = text.numbers
    hosts = [".".join(str(numbers.randrange(1, 255)) for _ in range(4)) for _ in range(4000)]
    host_sums = zipf(len(hosts))
    paths = ["/" + "/".join(text.some(numbers.randrange(1, 5))) for _ in range(2500)]
    path_sums = zipf(len(paths))
    agents = [
        f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0"
        for system in ("X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X")
        for version in range(104, 121)
    ]
    statuses = [200] * 40 + [304] * 6 + [404, 404, 301, 302, 500]
    for day, time, _ in clock(numbers):
        host = numbers.choices(hosts, cum_weights=host_sums)[0]
        path = numbers.choices(paths, cum_weights=path_sums)[0]
        query = f"?id={numbers.getrandbits(20)}" if numbers.random() < 0.3 else ""
        size = int(numbers.lognormvariate(8.5, 1.3))
        yield (
            f'{host} - - [{day:02}/Sep/2025:{time} +0000] "GET {path}{query} HTTP/1.1" '
            f'{numbers.choice(statuses)} {size} "https://www.example.org{path}" '
            f'"{numbers.choice(agents)}"\n'
        )


def syslog_lines(text):
    """The messages of a machine's services."""
    numbers = text.numbers
    services = ["sshd", "cron", "kernel", "systemd", "postfix/smtpd", "dovecot", "named", "dhclient"]
    forms = [" ".join(text.some(numbers.randrange(4, 14))) for _ in range(300)]
    form_sums = zipf(len(forms))
    for day, time, _ in clock(numbers):
        form = numbers.choices(forms, cum_weights=form_sums)[0]
        address = f"10.{numbers.randrange(4)}.{numbers.randrange(256)}.{numbers.randrange(256)}"
        yield (
            f"Sep {day:2} {time} web{numbers.randrange(1, 9):02} {numbers.choice(services)}"
            f"[{numbers.randrange(300, 32768)}]: {form} from {address} port "
            f"{numbers.randrange(1024, 65536)}\n"
        )


def json_lines(text):
    """Events of an application, with identifiers that nothing compresses."""
    numbers = text.numbers
    events = [".".join(text.some(3)) for _ in range(120)]
    event_sums = zipf(len(events))
    for day, time, milliseconds in clock(numbers):
        event = numbers.choices(events, cum_weights=event_sums)[0]
        yield (
            f'{{"ts":"2025-09-{day:02}T{time}.{milliseconds:03}Z","level":"info",'
            f'"event":"{event}","user":{numbers.randrange(1, 50000)},'
            f'"trace":"{numbers.getrandbits(64):016x}","ms":{numbers.expovariate(0.02):.3f},'
            f'"message":"{" ".join(text.some(6))}"}}\n'
        )


# Media.


def media(root, size):
    """Writes files of 0.1 to 30 MB that nothing compresses, but for their heads."""
    numbers = random.Random(7)
    kinds = [("photos", "jpg", 0.1e6, 6e6), ("music", "mp3", 2e6, 10e6), ("video", "mp4", 10e6, 30e6)]
    limit = size / 8
    number = 0
    while size > 0:
        name, suffix, least, most = numbers.choices(kinds, [20, 4, 1])[0]
        length = int(min(numbers.uniform(least, most), limit))
        directory = os.path.join(root, name, f"{2015 + number % 10}")
        os.makedirs(directory, exist_ok=True)
        head = (f"{suffix} {name} {number:08} ".encode() * 40)[:600].ljust(1024, b"\0")
        data = head + numbers.randbytes(max(0, length - len(head)))
        write(os.path.join(directory, f"{name}-{number:05}.{suffix}"), data)
        size -= length
        number += 1


# Many small files.


def many(root, directories):
    """Writes directories of 1000 small files each, about 1 KB on average."""
    text = Text(11)
    # What every file takes its sentences from: made once, as 400,000 files are to be written soon.
    prose = text.prose(2_000_000)
    kinds = [mail, session, cache, mail]
    for number in range(directories):
        kind = kinds[number % 4]
        for file in range(1000):
            name, content = kind(text.numbers, prose, number, file)
            path = os.path.join(root, name)
            if file == 0:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            write(path, content.encode())


def piece(numbers, prose, length):
    start = numbers.randrange(len(prose) - length)
    return prose[start : start + length]


def mail(numbers, prose, directory, file):
    """A message in a mail directory."""
    time = 1_650_000_000 + numbers.getrandbits(26)
    identity = f"{numbers.getrandbits(64):016x}"
    body = piece(numbers, prose, min(60 + int(numbers.lognormvariate(6.2, 0.9)), 9000))
    content = (
        f"Return-Path: <user{numbers.randrange(900)}@example.org>\n"
        f"Delivered-To: user{directory}@mail.example.org\n"
        f"Received: from mx{numbers.randrange(1, 5)}.example.org (mx.example.org [192.0.2."
        f"{numbers.randrange(1, 255)}])\n\tby mail.example.org with ESMTPS id {identity[:10]}\n"
        f"Message-ID: <{identity}@example.org>\n"
        f"Subject: {piece(numbers, prose, 30).strip()!r}\n"
        f"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n{body}\n"
    )
    name = f"{time}.M{numbers.randrange(1_000_000)}P{numbers.randrange(32768)}.mail,S={len(content)}"
    return f"mail/user{directory:03}/cur/{file:04}.{name}:2,S", content


def session(numbers, prose, directory, file):
    """A session of a web application."""
    token = f"{numbers.getrandbits(128):032x}"
    content = (
        f'_token|s:32:"{token}";_flash|a:2:{{s:3:"old";a:0:{{}}s:3:"new";a:0:{{}}}}'
        f'user_id|i:{numbers.randrange(50000)};last_seen|i:{1_700_000_000 + numbers.getrandbits(24)};'
    )
    if numbers.random() < 0.5:
        content += f'cart|s:{200}:"{piece(numbers, prose, 200)}";'
    return f"sessions/{directory:03}/sess_{file:04}{token[:22]}", content


def cache(numbers, prose, directory, file):
    """A page or an object in a cache."""
    key = f"{numbers.getrandbits(160):040x}"
    body = piece(numbers, prose, min(100 + int(numbers.lognormvariate(6.6, 1.0)), 20000))
    content = (
        f'{{"key":"{key}","expires":{1_700_000_000 + numbers.getrandbits(24)},"tags":["page",'
        f'"node:{numbers.randrange(9000)}"],"status":200,"type":"text/html",\n"body":"<p>{body}</p>"}}\n'
    )
    return f"cache/{directory:03}/{file:04}-{key[:24]}.json", content
