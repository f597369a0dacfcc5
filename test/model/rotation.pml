/*
 * How a refresh token rotates: docs/rotation.md as a model, which spin checks over all interleavings. One session; its
 * owner in two tabs; a thief who copies one token, perhaps with its key; two nodes; one set-back; TOKENS at most. Time
 * is left to chance: the grace, and the minute that a node remembers, end at any moment. A request is one step: its
 * rotation changed something, or may as well have failed just before the look; a revocation can come later. Tab 1 is
 * whichever is slower. Each step prints a line, by which model.test.ts walks through the module. TRY is a fault, or a
 * promise without its exception. Nobody copies a token or logs out before QUIET of them were made.
 */
mtype = { nothing, no_mac, endless_grace, idle_reuse, ahead_too, unanswered_too, late_too, two_keys_too };
mtype = { no_key, its_key, other_key };  /* the Idempotency-Key, random for each rotation */
mtype = { revoked, live, ahead, reused, by_key, in_grace, unanswered };  /* what a presented token leads to */
#define NONE TOKENS
#define THIEF 2  /* 0 and 1 are the owner's tabs */
#define has(set, y) ((set >> (y)) & 1)
#define without(set, y) (set & ~(1 << (y)))

typedef Token { byte generation; byte parent = NONE; mtype key = no_key; bool is_forged };
typedef Row { byte newest, outdated; byte parent = NONE; mtype key = no_key; bool is_fresh, is_revoked, is_logged_out };
Token token[TOKENS]; Row row, backup, blank;
byte made = 1, memory = NONE;    /* whose rotation node 0 answered 503 last, for a minute; node 1 has answered none */
byte stored, under_way = NONE;   /* what the tabs share, and what tab 1 has sent */
byte stolen = NONE, held;        /* sets: held, and row.outdated, what of it was held at the owner's last refresh */
byte refreshed, went_on;         /* sets of parties: the owner 1, the thief 2 */
bool is_backed_up, is_set_back, has_its_key, has_forged;
mtype stored_key = no_key; bool has_keys, was_sent, was_sent_before_set_back, is_excused;
hidden byte x, next, got, node, is_repeated; hidden mtype k, standing;

/* The table of docs/rotation.md: the first line that fits. The MAC decides alone whether a generation is believed. */
#define is_higher (token[x].generation > token[row.newest].generation && (!token[x].is_forged || TRY == no_mac))
inline look() {
  standing = (row.is_revoked -> revoked : (x == row.newest -> live : (is_higher -> ahead :
    (x != row.parent -> reused : (k != no_key && k == row.key -> by_key :
    (row.is_fresh || TRY == endless_grace -> in_grace :
    (k == no_key && row.newest == memory && node == 0 -> unanswered : reused))))))) }
#define is_good (standing == live || standing == ahead)
#define is_repetition (standing == by_key || standing == in_grace || standing == unanswered)

/* The same token with the same key always has the same successor; without a key it has another each time. */
inline derive() {
  next = 0;
  do :: next < made && (k == no_key || token[next].parent != x || token[next].key != k) -> next++ :: else -> break od;
  made = (next == made -> made + 1 : made);
  token[next].parent = x; token[next].key = k; token[next].generation = token[x].generation + 1 }

inline rotate(who) { row.parent = x; row.newest = next; row.key = k; row.is_fresh = true; outdate(who, next) }
/* What the owner gets himself is not outdated, nor what the thief uses or makes in spite of that. */
inline outdate(who, y) { row.outdated = without((who == THIEF -> without(row.outdated, x) : held), y) }

inline refresh(who) {
  if :: node = 0 :: row.newest == memory -> node = 1 fi;
  look();
  if :: is_good && made < TOKENS -> derive(); got = next :: is_repetition -> got = row.newest :: else -> got = NONE fi;
  printf("> %d refreshes %d with %e at node %d: %e %d\n", who, x, k, node, standing, got);
  if :: got != NONE -> promise(who) :: else fi; if :: got != NONE && is_good -> rotate(who) :: else fi }

inline revoke(who) {
  row.is_revoked = row.is_revoked || TRY != idle_reuse; outdate(who, NONE); printf("> %d revokes\n", who) }

#define party(who) (who == THIEF -> 2 : 1)
inline promise(who) {
  /* A logout that has answered stays, unless the set-back undid it. */
  assert(!row.is_logged_out);
  /* No token of a thief lasts beyond the owner's next refresh, unless it is ahead, or gets what the owner got: by the
     owner's own key, in the grace, after a 503. */
  assert(who != THIEF || !has(row.outdated, x) || (standing == ahead && !token[x].is_forged && TRY != ahead_too) ||
    (standing == by_key && k == its_key) || (standing == in_grace && row.is_fresh) ||
    (standing == unanswered && TRY != unanswered_too));
  /* Once both have refreshed, one of them alone goes on. Anew when a token was ahead, or both may have the same. */
  if :: standing == live || standing == by_key :: else -> refreshed = 0; went_on = 0 fi;
  went_on = (is_good && refreshed == 3 -> went_on | party(who) : went_on); assert(went_on != 3);
  refreshed = (is_good -> refreshed | party(who) : refreshed) }

/* The tabs send one token at a time, always with the same key, unless it is forgotten after the set-back. */
#define is_turn (stored != NONE && !row.is_revoked && (under_way == NONE || under_way == stored || TRY == late_too))
inline send(who, y, its, was_repeated) {
  if :: its = stored_key :: has_keys && was_sent_before_set_back -> its = other_key; stored_key = other_key fi;
  was_repeated = was_sent && stolen == NONE; was_sent = stolen == NONE; y = stored;
  is_excused = is_excused || (was_repeated && !has_keys && who == 0 && under_way == stored) ||
    (was_sent_before_set_back && its != its_key && TRY != two_keys_too)
}
inline receive(was_repeated) {
  /* An owner alone never loses the session, unless two of his requests for one token, without a key or with two, lie
     on both sides of a set-back; or he repeats one without a key, other than to the node that answered it 503. */
  assert(standing != reused || stolen != NONE || is_excused ||
    (was_repeated && !has_keys && (node || row.newest != memory)));
  if
  :: got != NONE && stored == x && stored_key == k ->
     stored = got; stored_key = (has_keys -> its_key : no_key); was_sent = false; was_sent_before_set_back = false
  :: standing == reused || standing == revoked -> stored = NONE
  :: true fi  /* the answer is lost */
}

proctype Tab0() {
  do :: atomic { is_turn -> send(0, x, k, is_repeated); refresh(0); receive(is_repeated);
       if :: standing == reused -> revoke(0) :: else fi }
  :: atomic { stored != NONE && !row.is_revoked && made >= QUIET -> printf("> logs out with %d\n", stored);
       stored = NONE; row.is_revoked = true; row.is_logged_out = true }
  od }

proctype Tab1() {
  mtype its = no_key; bool was_repeated, was_set_back; byte late = NONE;
rest:
  atomic { is_turn -> send(1, under_way, its, was_repeated) }
  if
  :: atomic { x = under_way; k = its; refresh(1); receive(was_repeated);
       under_way = NONE; its = no_key; was_repeated = false; if :: standing == reused :: else -> goto rest fi }
     atomic { revoke(1) }
  :: atomic { printf("> 1 is answered 503 for %d with %e\n", under_way, its);
       late = under_way; under_way = NONE; was_repeated = false; was_set_back = is_set_back }
     /* The rotation may take effect all the same, unless its connection ends together with the database. */
     atomic { x = late; k = its; late = NONE; its = no_key; look();
       if
       :: is_good && was_set_back == is_set_back && made < TOKENS ->
          derive(); printf("> takes effect: %d\n", next); promise(1); rotate(1); memory = (k == no_key -> next : memory)
       :: true fi; was_set_back = false }
  fi; goto rest
}

#define is_over (row.is_revoked && (is_set_back || !is_backed_up))
proctype Thief() {
  do
  :: atomic { stolen == NONE && !row.is_revoked && made >= QUIET ->
       select(x : 0 .. made - 1); stolen = x; held = 1 << x; printf("> copies %d\n", x);
       if :: x == stored -> has_its_key = has_keys :: true fi;
       is_excused = false; was_sent = false; was_sent_before_set_back = false }
  :: atomic { held && !row.is_revoked && !has_forged && made < TOKENS -> has_forged = true; held = held | 1 << made;
       token[made].is_forged = true; token[made].generation = token[row.newest].generation + 1;
       row.outdated = row.outdated | (row.outdated != 0) << made;
       printf("> forges %d of generation %d\n", made, token[made].generation); made++ }
  :: atomic { held && !is_over -> x = 0;
       do :: has(held, x) -> break :: held >> (x + 1) -> x++ od;
       if :: k = no_key :: x == stolen && has_its_key -> k = its_key fi;
       refresh(THIEF);
       if :: got != NONE -> held = held | 1 << got :: standing == reused -> revoke(THIEF) :: else fi }
  od }

inline copy(to, from) {
  to.newest = from.newest; to.parent = from.parent; to.key = from.key; to.is_fresh = from.is_fresh;
  to.is_revoked = from.is_revoked; to.is_logged_out = from.is_logged_out; to.outdated = from.outdated }
init {
  atomic { if :: has_keys = true; stored_key = its_key :: true fi; run Tab0(); run Tab1(); run Thief() }
  do
  :: atomic { !row.is_revoked && !is_backed_up -> copy(backup, row); is_backed_up = true; printf("> is backed up\n") }
  :: atomic { is_backed_up && !is_set_back -> copy(row, backup); copy(backup, blank); is_set_back = true;
       refreshed = 0; went_on = 0; was_sent_before_set_back = was_sent; printf("> is set back\n") }
  :: atomic { !row.is_revoked && (row.is_fresh || backup.is_fresh) -> printf("> the grace ends\n");
       row.is_fresh = false; backup.is_fresh = false }
  :: atomic { !row.is_revoked && memory != NONE -> memory = NONE; printf("> the minute ends\n") }
  od }
