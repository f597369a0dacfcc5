/**
 * Systems that were measured beside the module once, by hand, and are no part of a run. Costs are processor time of
 * server and PostgreSQL for one operation, in microseconds.
 */
export const MEASURED_BY_HAND = {
  about: `On 2026-11-25, on a virtual machine with two cores that servers, PostgreSQL and load shared with other work, so ratios count more than figures:
Node 26.10, PostgreSQL 15.20 with \`shared_buffers\` 2 GB, \`fsync\` and \`synchronous_commit\` on, 32 connections, 48 sessions, three rounds of 3 s in turns, medians. No
answer was wrong. Cerrojo is its first edition there.`,

  setUps: [
    ['Cerrojo, first edition', 'as `npm start` runs it, its limits off, a pool of 10, bcrypt at cost 12'],
    [
      'Supabase Auth v2.196.0',
      'Go 1.26, ES256 keys, bcrypt at cost 10, a pool of 20, a reuse interval of 10 s, emails confirmed by themselves, its audit log in PostgreSQL (the default); refresh token algorithms 1 and 2',
    ],
    ['Ory Hydra v26.2.0', 'development mode, a pool of 20, its default key; with an ID token (RS256) and without'],
    ['Ory Kratos v26.2.0', 'bcrypt at cost 12, a pool of 20, API flows; its session tokens do not rotate'],
    [
      'Keycloak 26.7.3',
      'Temurin 25, optimised start, local caches, refresh tokens revoked at use, RS256, Argon2id; warmed for a minute, and still getting faster',
    ],
    ['FastAPI, better-auth', "this bench's own, bcrypt at cost 12"],
  ],

  /** The figures that the picture shows beside this run's own, each against Cerrojo's of the same hour. */
  costs: [
    { name: 'Cerrojo', refresh: 367, look: 77 },
    { name: 'Supabase Auth', refresh: 3074, look: 1152 },
    { name: 'Keycloak', refresh: 6004, look: 646 },
    { name: 'Ory Hydra', refresh: 2552, look: 722 },
    { name: 'Ory Kratos', look: 1359 },
  ] as { name: string; refresh?: number; look: number }[],

  tables: [
    {
      title: 'Cost in µs',
      head: ['', 'refresh', 'who am I', 'published keys'],
      rows: [
        ['Cerrojo', '367: 320 its own, 47 of PostgreSQL; 2,765 a second', '77; with a token never seen 630', '24'],
        ['FastAPI', '1,058', '958', '–'],
        ['Supabase Auth, algorithm 2 / 1', '3,074 / 4,250', '1,152 / 1,110', '62'],
        ['Keycloak', '6,004', '646, without any SQL', '255'],
        ['Hydra, with / without an ID token', '10,856 / 2,552', '722', '1,875'],
        ['Kratos', '–', '1,359', '–'],
        ['better-auth', '–', '1,299', '–'],
      ],
    },
    {
      title: 'What each takes',
      head: ['', 'memory at rest → after load, MiB', 'start, ms', 'on disk, MB'],
      rows: [
        ['Cerrojo', '129 → 224', '541', '265, of it Node 211 and the embedded database 27'],
        ['Supabase Auth', '41 → 55', '40', '50'],
        ['Hydra / Kratos', '55 → 73 / 73 → 113', '103 / 139', '62 / 81'],
        ['Keycloak', '405 → 578', '9,636', '186, and a JDK of 303'],
        ['better-auth', '126 → 264', '454', '–'],
      ],
    },
    {
      title: '20 refreshes, or looks at a session, a second, and for 20 s three times the logins that can be hashed',
      head: ['', 'steady p99, quiet → in the storm, ms', 'steady requests answered, of 400'],
      rows: [
        ['Cerrojo', '14.5 → 29', '400; accepted logins waited 11.8 s in the median, too long'],
        ['FastAPI', '119 → 108', '400; 148 logins without an answer after 45 s'],
        ['Keycloak, at 1.4 times', '29 → 4,835', '371'],
        ['Supabase Auth', '77 → 10,192', '12'],
        ['Kratos', '22 → 48,525', '391, late'],
        ['better-auth', '11 → 43,117', '400, late'],
      ],
    },
    {
      title: 'The answer to a refresh is lost, and the old token is shown again',
      head: ['', 'the session after 1 s / 15 s / 60 s', '20 of them at once'],
      rows: [
        ['Cerrojo with `Idempotency-Key`', 'alive / alive / alive', '20 answered with one and the same token; alive'],
        ['Cerrojo without', 'ended, as theft is assumed', '1 answered; ended'],
        [
          'Supabase Auth',
          'alive at any age, for anybody who has that token',
          '20 answered with one and the same token; alive',
        ],
        ['Keycloak, FastAPI', 'ended', '1 answered; ended'],
        ['Hydra', 'ended', '2 to 3 answered, with different tokens that all live'],
      ],
    },
  ],
}
