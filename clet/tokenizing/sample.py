"""The fixed texts on which a fast engine has to agree with the reference: made to be hard, not to be read.

They go through every rule of the known regular expressions: contractions in all cases and with both apostrophes, runs
of every kind of character and of the lengths where engines change their ways (words of 15, 32, 64 and 256 bytes, and
a very long one), spaces and line ends in all orders, spellings of special tokens, code and addresses, decomposed and
composed characters, controls and noncharacters, and characters of every script between letters, digits and signs.
About 70,000 characters, most of them in runs, so that a check takes some 40 ms, nearly all of it the reference's.
"""

from __future__ import annotations

from itertools import product

from clet.tokenizing.characters import UNKNOWN, table

# First letters of scripts and of kinds of symbols: what follows each in its block is taken too.
_SCRIPTS = (
    *(0xC0, 0x100, 0x1C4, 0x250, 0x2B0, 0x300, 0x370, 0x3D0, 0x410, 0x460, 0x531, 0x591, 0x5D0, 0x610, 0x627, 0x64B),
    *(0x660, 0x6F0, 0x710, 0x780, 0x7C0, 0x800, 0x904, 0x93C, 0x966, 0x985, 0x9E6, 0xA05, 0xA85, 0xB05, 0xB83, 0xBE6),
    *(0xC05, 0xC85, 0xD05, 0xD85, 0xE01, 0xE31, 0xE50, 0xE81, 0xF00, 0xF20, 0x1000, 0x1040, 0x10A0, 0x10D0, 0x1100),
    *(0x1161, 0x11A8, 0x1200, 0x1369, 0x13A0, 0x1401, 0x1681, 0x16A0, 0x1780, 0x17E0, 0x1820, 0x1900, 0x1C80, 0x1D00),
    *(0x1E00, 0x1F00, 0x2000, 0x200B, 0x2010, 0x2026, 0x202A, 0x205F, 0x2066, 0x2070, 0x20A0, 0x20D0, 0x2100, 0x2150),
    *(0x2190, 0x2200, 0x2460, 0x2500, 0x2580, 0x25A0, 0x2600, 0x2701, 0x2776, 0x2C00, 0x2D30, 0x2E80, 0x2FF0, 0x3000),
    *(0x3021, 0x3041, 0x3099, 0x30A1, 0x3105, 0x3131, 0x3200, 0x3400, 0x4DC0, 0x4E00, 0x9FA0, 0xA000, 0xA640, 0xA720),
    *(0xAC00, 0xD7A0, 0xE000, 0xF900, 0xFB00, 0xFB1D, 0xFE00, 0xFE20, 0xFEFF, 0xFF01, 0xFF10, 0xFF41, 0xFF66, 0xFFFC),
    *(0x10000, 0x10107, 0x10330, 0x10400, 0x104A0, 0x10900, 0x10A00, 0x11000, 0x11066, 0x11103, 0x12000, 0x12400),
    *(0x13000, 0x16A40, 0x16F00, 0x17000, 0x1B000, 0x1BC00, 0x1D100, 0x1D165, 0x1D400, 0x1D7CE, 0x1E100, 0x1E800),
    *(0x1E900, 0x1EE00, 0x1F000, 0x1F100, 0x1F1E6, 0x1F300, 0x1F3FB, 0x1F600, 0x1F680, 0x1F900, 0x1FA70, 0x20000),
    *(0x2A700, 0x2F800, 0x30000, 0xE0001, 0xE0020, 0xE0100, 0xF0000, 0x10FFF0),
)
# What may follow an apostrophe; U+017F is an s to what ignores case.
_ENDINGS = ("s", "S", "t", "T", *("re", "RE", "rE", "ve", "Ve", "m", "M", "ll", "LL", "lL", "d", "D", "\u017f", "x"))
_SPECIALS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<pad>", "<|end_of_text|>", "[INST]"),
    *("<|begin_of_text|>", "<|eot_id|>", "<|fim_prefix|>", "<tool_call>", "<think>", "<0x0A>", "<0xFF>", "\u2581"),
)
_RUNS = (" ", "\n", "\t", "\r\n", "\u00a0", "\u3000", *("a", "Z", "0", "-", ".", "'", "\u00e9", "\u4e00", "\u0301"))
_BLANKS = (" ", "\t", "\n", "\r", "\u00a0")
_WORDS = ("ab", "xyz", "The", "\u00e9t\u00e9", "\u4eba\u6c11", "1234567", "=-", "/\n", ". ")
_LENGTHS = (*range(9, 19), 31, 32, 33, 63, 64, 65)
# Noncharacters, and characters younger than engines know: texts of their own, since such are not left to an engine.
_STRANGE = ("\ufdd0", "\uffff a", "\U0010ffff", "\U0001fae8 \u1add", "\U00031350\u088f", "e\u0301\u1acf\u0327")
_PROSE = (
    "The Council's 3rd meeting, held on 14/02/2026 at 09:30, didn't end until 6 p.m.; they'd asked for $1,234,567.89.",
    "HE SAID: \"WE'VE GOT IT, HAVEN'T WE?\" \u2014 She\u2019d laughed (it\u2019s, I\u2019LL, you\u2019Re) ... and "
    "left!",
    "def f(x, *, y=None):\n\tif x is not None and y != 0x1F:\n\t\treturn {'a': [x**2 for _ in range(10)]}  # ok\n\n\n",
    "see https://user:pw@example.org:8080/a/b%20c.html?q=1&r=%E2%82%AC#top, or mail first.last+tag@example.co.uk now",
    '<div class="a b">&nbsp;&lt;p&gt;</div>\r\n\r\n  <!-- x --> <br/>\r\n{"k": [1, -2.5e-10, null], "\\u00e9": "\\n"}',
    "Gr\u00f6\u00dfe \u00dcber stra\u00dfe, \u00e9t\u00e9 na\u00efve, pi\u00f1ata, \u0141\u00f3d\u017a, \u0130st"
    "anbul \u0131\u015f\u0131k, Ti\u1ebfng Vi\u1ec7t",
    "Gro\u0308\u00dfe e\u0301te\u0301 n\u0303 A\u030a \u212b \u2126 \u00c5 q\u0323\u0307 q\u0307\u0323 \u1e9b"
    "\u0323 \u0344 \u0958 \u2f81 \ufb03 \u1100\u1161\u11a8 \uac00\u11a8",
    "\u041c\u043e\u0441\u043a\u0432\u0430, 12 \u043c\u0430\u044f; \u0397 \u0391\u03b8\u03ae\u03bd\u03b1\u00b7 "
    "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u0627\u0644\u0633\u0651\u064e\u0644\u0627\u0645\u064f \u0661"
    "\u0662\u0663 \u06f4\u06f5",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0967\u0968 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0e20\u0e32\u0e29\u0e32"
    "\u0e44\u0e17\u0e22 \u0e01\u0e33\u0e25\u0e31\u0e07 \u1019\u103c\u1014\u103a\u1019\u102c \u1797\u17b6\u179f"
    "\u17b6\u1781\u17d2\u1798\u17c2\u179a",
    "\u5b66\u800c\u65f6\u4e60\u4e4b\uff0c\u4e0d\u4ea6\u8aac\u4e4e\uff1f2026\u5e743\u6708 \u3053\u3093\u306b"
    "\u3061\u306f\u3001\u30c6\u30b9\u30c8\u30fc\u3002\uff21\uff22\uff11\uff12 \ud55c\uad6d\uc5b4 \u6587\uc7a5",
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f"
    "\u200d\U0001f308 \U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 1\ufe0f\u20e3 \u2764\ufe0f a\U0001f600b 5"
    "\U0001f600",
    "\u202eright\u202c \u2066iso\u2069 zero\u200bwidth\u200cjoin\u200der\u2060 \ufeffbom soft\u00adhyphen \u0085"
    "nel \u2028line\u2029par \u180e\u061c",
    "\ufffd\ufffd a\ufffd \ue000\uf8ff \U000f0000 \x00\x01\x1b[31m\x7f\u0080\u009f \x0b\x0c\x1c\x1f",
    "x\u00b2+y\u00b3=z\u2074 \u00bd\u00be \u2167 \u2460\u2461 \u216b \u2150 \u0be7 \U0001d7d9\U0001d7da 1\u2044 "
    "2 \u2211\u222b\u221a\u2260 \u20ac\u00a3\u00a5 \u00aa\u00ba \u01c5 \u02b0",
)


def rules() -> list[str]:
    """Short texts that go through the rules by which text is split."""
    made = [*_PROSE, " ".join(_PROSE), *_STRANGE]
    for mark in ("'", "\u2019", " '", "''", "'\u00e9"):
        made.append("".join(f"I{mark}{end} It{mark}{end}x 1{mark}{end} .{mark}{end}{mark}{end}\n" for end in _ENDINGS))
    runs = ["".join(blanks) for count in (1, 2, 3) for blanks in product(_BLANKS, repeat=count)]
    made += runs[:30]  # as a whole text, too: what follows decides where a run is split
    made += ["".join(run + after for run in runs) for after in ("a", "1", "!")]
    made.append("".join(run * length + "x1!"[: 1 + length % 3] for length in range(2, 9) for run in _RUNS))
    return made


def texts() -> list[str]:
    """Texts for the merges and the engine's own ways: tiny, long and very long ones, spellings of special tokens."""
    made = ["", " ", "a", "\n", "\x00", "\u00e9", "\U0001f600", "\u0301", "\ufeff", "\r\n".join(reversed(_PROSE))]
    for special in _SPECIALS:
        made.append(f"{special}{special} a{special}b {special} \n{special}\t {special[:-1]} {special[1:]}  {special} ")
    for run in _RUNS:
        made.append("".join(run * length + "x1!"[: 1 + length % 3] for length in _LENGTHS))
        made.append(run * 300 + "end" + run * 257)
    made += [word * 300 for word in _WORDS]
    made += ["".join(chr(97 + i * i * 7 % 26) for i in range(3000)) + "0" * 999, "=" * 20_000]
    return made


def by_character() -> list[str]:
    """A text a script, in which some of its characters stand between letters, digits, spaces, signs and line ends."""
    unknown, made = (table() & UNKNOWN).astype(bool), []
    for first in _SCRIPTS:
        points = [point for point in (first, first + 1, first + 5, first + 14) if not unknown[min(point, 0x10FFFF)]]
        made.append("".join(f"a{c}a 1{c}1 {c}{c} !{c}! A{c}\n{c} '{c}" for c in map(chr, points)))
    return made
