"""Lists that the rules for personal numbers need: what is assigned, and how long it is.

Country calling codes: ITU-T E.164 (list of assigned codes). IBAN lengths: SWIFT's IBAN registry. Top-level domains:
those of IANA's root zone in which people have e-mail addresses; two-letter ones are taken as they come.
"""

from __future__ import annotations

_CODES = """
1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90
91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 238 239
240 241 242 243 244 245 246 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 267 268 269 290
291 297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 380 381 382 383 385 386
387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 670 672 673 674
675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 808 850 852 853 855 856 870 880 886 960 961
962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 992 993 994 995 996 998
"""

_IBANS = """
15 NO
16 BE
18 DK FI FK FO GL NL SD
19 MK SI
20 AT BA EE KZ LT LU MN XK
21 CH HR LI LV
22 BG BH CR DE GB GE IE ME RS VA
23 AE GI IL IQ OM SO TL
24 AD CZ ES MD PK RO SA SE SK TN VG
25 LY PT ST
26 IS TR
27 BI DJ FR GR IT MC MR SM
28 AL AZ BY CY DO GT HN HU LB NI PL SV
29 BR EG PS QA UA
30 JO KW MU
31 MT SC
33 LC RU
"""

_DOMAINS = """
com org net edu gov mil int info biz name pro aero asia cat coop jobs mobi museum post tel travel xxx
academy accountants agency amsterdam apartments app archi army art associates attorney auction audio auto band bank
barcelona bayern beer berlin best bet bible bike bio black blog blue boston boutique broker brussels build builders
business buzz cafe camera camp capital car cards care career careers cars casa cash casino center ceo charity chat
church city claims cleaning clinic clothing cloud club coach codes coffee college cologne community company computer
condos construction consulting contact contractors cooking cool country coupons courses credit cricket cruises dance
date dating day deals degree delivery dental dentist design dev diamonds diet digital direct directory discount doctor
dog domains earth eco education email energy engineer engineering enterprises equipment estate events exchange expert
express faith family fan fans farm fashion film finance financial fish fit fitness flights florist flowers football
forsale forum foundation fun fund furniture fyi gallery game games garden gay gift gifts gives glass global gmbh gold
golf graphics gratis green group guide guitars guru hamburg haus health healthcare help hockey holdings holiday homes
horse hospital host hosting house inc industries ink institute insurance insure international investments ist istanbul
jetzt jewelry kaufen kim kitchen kiwi koeln land lat law lawyer lease legal lgbt life lighting limited limo link live
llc loan loans london love ltd ltda luxury madrid maison management market marketing mba media melbourne memorial
miami moda moe money mortgage moscow movie nagoya navy network news ngo ninja nrw nyc observer one ong online organic
paris partners parts party pet phd photo photography photos pics pictures pink pizza place plumbing plus poker press
productions properties property pub quebec racing realty recipes red reise reisen rent rentals repair report
republican restaurant review reviews rich rio rip rocks rodeo rugby ruhr saarland sale salon sarl school schule
science scot security services shoes shop shopping show singles site ski soccer social software solar solutions space
sport store studio study style supplies supply support surf surgery swiss sydney systems tatar tattoo tax taxi team
tech technology tennis theater theatre tienda tips tires tirol today tokyo tools tours town toys trade training tube
university vacations vegas ventures vet viajes video villas vin vip vision vlaanderen vodka vote voting voyage wales
wang watch webcam website wedding wien wiki win wine work works world wtf xin xyz yachts yoga yokohama zone
"""

CALLING_CODES = frozenset(_CODES.split())
IBAN_LENGTHS = {
    country: int(length) for length, *countries in map(str.split, _IBANS.strip().split("\n")) for country in countries
}
TOP_LEVEL = frozenset(_DOMAINS.split())
