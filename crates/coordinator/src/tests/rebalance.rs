use super::check;

#[test]
fn first_member_is_asked_to_come_back_then_leads_alone() {
    check(
        "
        > join a c1
        + group g gen=0 []
        a: MEMBER_ID_REQUIRED member=c1-1
        > join b c1 member=c1-1
        b: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync c c1-1 gen=1 assign=c1-1:t0
        + group g gen=1 [c1-1:t0]
        c: assigned t0
        > beat d c1-1 gen=1
        d: NONE
        > state
        g Stable gen=1 protocol=range leader=c1-1 members=[c1-1] pending=0
        ",
    );
}

#[test]
fn old_clients_join_in_one_step() {
    check(
        "
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:t0
        + group g gen=1 [c1-1:t0]
        b: assigned t0
        > state
        g Stable gen=1 protocol=range leader=c1-1 members=[c1-1] pending=0
        ",
    );
}

#[test]
fn second_member_makes_the_first_rejoin() {
    check(
        "
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:all
        + group g gen=1 [c1-1:all]
        b: assigned all
        > join c c2 v=3
        > beat d c1-1 gen=1
        d: REBALANCE_IN_PROGRESS
        > join e c1 member=c1-1
        e: joined gen=2 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        c: joined gen=2 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync f c2-2 gen=2
        > sync g c1-1 gen=2 assign=c1-1:x,c2-2:y
        + group g gen=2 [c1-1:x c2-2:y]
        g: assigned x
        f: assigned y
        > beat h c2-2 gen=2
        h: NONE
        > beat i c2-2 gen=1
        i: ILLEGAL_GENERATION
        > state
        g Stable gen=2 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        ",
    );
}

#[test]
fn initial_delay_gathers_members_and_is_prolonged_by_each() {
    check(
        "
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > wait 2000
        > join b c2 v=3
        > wait 2000
        > join c c3 v=3
        > wait 1999
        > state
        g PreparingRebalance gen=0 protocol=- leader=c1-1 members=[c1-1 c2-2 c3-3] pending=0
        > wait 3001
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2 c3-3]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        c: joined gen=1 protocol=range member=c3-3 leader=c1-1 members=[]
        > state
        g CompletingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2 c3-3] pending=0
        ",
    );
}

#[test]
fn initial_delay_ends_at_the_rebalance_timeout() {
    check(
        "
        > delay 3000
        > join a c1 v=3 rebalance=5000
        + group g gen=0 []
        > wait 2900
        > join b c2 v=3 rebalance=5000
        > wait 2000
        > join c c3 v=3 rebalance=5000
        > wait 99
        > state
        g PreparingRebalance gen=0 protocol=- leader=c1-1 members=[c1-1 c2-2 c3-3] pending=0
        > wait 1
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2 c3-3]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        c: joined gen=1 protocol=range member=c3-3 leader=c1-1 members=[]
        ",
    );
}

#[test]
fn most_votes_choose_among_common_protocols() {
    check(
        "
        > delay 3000
        > join a c1 v=3 protocols=range,roundrobin,sticky
        + group g gen=0 []
        > join b c2 v=3 protocols=roundrobin,range
        > join c c3 v=3 protocols=roundrobin,range
        > wait 9000
        a: joined gen=1 protocol=roundrobin member=c1-1 leader=c1-1 members=[c1-1 c2-2 c3-3]
        b: joined gen=1 protocol=roundrobin member=c2-2 leader=c1-1 members=[]
        c: joined gen=1 protocol=roundrobin member=c3-3 leader=c1-1 members=[]
        > join d c4 v=3 protocols=sticky
        d: INCONSISTENT_GROUP_PROTOCOL member=
        > join e c5 v=3 type=connect
        e: INCONSISTENT_GROUP_PROTOCOL member=
        ",
    );
}

#[test]
fn group_needs_a_protocol() {
    check(
        "
        > join a c1 v=3 type=
        a: INCONSISTENT_GROUP_PROTOCOL member=
        > state
        > join b c1 group=
        b: INVALID_GROUP_ID member=
        > join c c1 session=100
        c: INVALID_SESSION_TIMEOUT member=
        > join d c1 session=2000000
        d: INVALID_SESSION_TIMEOUT member=
        > join e c1 member=nobody
        e: UNKNOWN_MEMBER_ID member=nobody
        > state
        ",
    );
}

#[test]
fn member_that_does_not_rejoin_is_dropped_at_the_rebalance_timeout() {
    check(
        "
        > join a c1 v=3 session=300000
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:all
        + group g gen=1 [c1-1:all]
        b: assigned all
        > join c c2 v=3
        > wait 59999
        > state
        g PreparingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        > wait 1
        c: joined gen=2 protocol=range member=c2-2 leader=c2-2 members=[c2-2]
        > beat d c1-1 gen=1
        d: UNKNOWN_MEMBER_ID
        > state
        g CompletingRebalance gen=2 protocol=range leader=c2-2 members=[c2-2] pending=0
        ",
    );
}

#[test]
fn silent_member_is_dropped_after_its_session() {
    check(
        "
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > join b c2 v=3
        > wait 6000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync c c1-1 gen=1 assign=c1-1:x,c2-2:y
        + group g gen=1 [c1-1:x c2-2:y]
        c: assigned x
        > sync d c2-2 gen=1
        d: assigned y
        > wait 9000
        > beat e c1-1 gen=1
        e: NONE
        > wait 1000
        > beat f c1-1 gen=1
        f: REBALANCE_IN_PROGRESS
        > join g c1 member=c1-1
        g: joined gen=2 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > wait 10000
        + group g gen=3 []
        > beat h c1-1 gen=2
        h: UNKNOWN_MEMBER_ID
        > wait 50000
        > state
        g Empty gen=3 protocol=- leader=- members=[] pending=0
        ",
    );
}

#[test]
fn pending_member_that_never_comes_back_is_forgotten() {
    check(
        "
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > join c c2
        c: MEMBER_ID_REQUIRED member=c2-2
        > state
        g Stable gen=1 protocol=range leader=c1-1 members=[c1-1] pending=1
        > join d c3 v=3
        > join e c1 member=c1-1
        > state
        g PreparingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1 c3-3] pending=1
        > wait 9999
        > wait 1
        e: joined gen=2 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c3-3]
        d: joined gen=2 protocol=range member=c3-3 leader=c1-1 members=[]
        > state
        g CompletingRebalance gen=2 protocol=range leader=c1-1 members=[c1-1 c3-3] pending=0
        ",
    );
}

#[test]
fn new_member_waits_at_most_five_minutes() {
    check(
        "
        > join a c1 v=3 rebalance=1000000 session=1000000
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > join c c2 v=3 rebalance=1000000
        > wait 299999
        > state
        g PreparingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        > wait 1
        c: UNKNOWN_MEMBER_ID member=
        > state
        g PreparingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1] pending=0
        ",
    );
}

#[test]
fn members_that_never_sync_are_dropped() {
    check(
        "
        > delay 3000
        > join a c1 v=3 rebalance=8000 session=300000
        + group g gen=0 []
        > join b c2 v=3 rebalance=8000 session=300000
        > wait 6000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync c c1-1 gen=1 assign=c1-1:x,c2-2:y
        + group g gen=1 [c1-1:x c2-2:y]
        c: assigned x
        > wait 7999
        > state
        g Stable gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        > wait 1
        > beat d c2-2 gen=1
        d: UNKNOWN_MEMBER_ID
        > state
        g PreparingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1] pending=0
        ",
    );
}

#[test]
fn rebalance_in_the_middle_of_sync_sends_everybody_back() {
    check(
        "
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > join b c2 v=3
        > wait 6000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync c c2-2 gen=1
        > join d c3 v=3
        c: REBALANCE_IN_PROGRESS
        > sync e c1-1 gen=1 assign=c1-1:x
        e: REBALANCE_IN_PROGRESS
        > join f c1 member=c1-1
        > join g c2 member=c2-2
        f: joined gen=2 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2 c3-3]
        g: joined gen=2 protocol=range member=c2-2 leader=c1-1 members=[]
        d: joined gen=2 protocol=range member=c3-3 leader=c1-1 members=[]
        > sync h c1-1 gen=2 assign=c1-1:x,c3-3:z
        + group g gen=2 [c1-1:x c2-2: c3-3:z]
        h: assigned x
        > sync i c3-3 gen=2
        i: assigned z
        > sync j c2-2 gen=2
        j: assigned
        ",
    );
}

#[test]
fn rejoining_without_change_answers_the_present_generation() {
    check(
        "
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > join b c2 v=3
        > wait 6000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > join c c2 member=c2-2
        c: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > join d c1 member=c1-1
        d: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        > sync e c2-2 gen=1
        > sync f c1-1 gen=1 assign=c1-1:x,c2-2:y
        + group g gen=1 [c1-1:x c2-2:y]
        f: assigned x
        e: assigned y
        > join g c2 member=c2-2
        g: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync h c2-2 gen=1
        h: assigned y
        > join i c2 member=c2-2 topics=t,u
        > state
        g PreparingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        ",
    );
}

#[test]
fn leader_that_rejoins_a_stable_group_forces_a_rebalance() {
    check(
        "
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > join c c1 member=c1-1
        c: joined gen=2 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync d c1-1 gen=2 assign=c1-1:y
        + group g gen=2 [c1-1:y]
        d: assigned y
        ",
    );
}

#[test]
fn leader_that_is_dropped_is_replaced_by_one_that_joined() {
    check(
        "
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > join b c2 v=3
        > wait 6000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync c c1-1 gen=1 assign=c1-1:x,c2-2:y
        + group g gen=1 [c1-1:x c2-2:y]
        c: assigned x
        > sync d c2-2 gen=1
        d: assigned y
        > join e c2 member=c2-2 topics=u
        > leave f c1-1
        e: joined gen=2 protocol=range member=c2-2 leader=c2-2 members=[c2-2]
        f: left NONE c1-1=NONE
        ",
    );
}

#[test]
fn leaving_rebalances_and_the_last_one_empties_the_group() {
    check(
        "
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > join b c2 v=3
        > wait 6000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync c c1-1 gen=1 assign=c1-1:x,c2-2:y
        + group g gen=1 [c1-1:x c2-2:y]
        c: assigned x
        > sync d c2-2 gen=1
        d: assigned y
        > leave e c1-1
        e: left NONE c1-1=NONE
        > join f c2 member=c2-2
        f: joined gen=2 protocol=range member=c2-2 leader=c2-2 members=[c2-2]
        > sync g c2-2 gen=2 assign=c2-2:all
        + group g gen=2 [c2-2:all]
        g: assigned all
        > leave h c2-2 nobody
        + group g gen=3 []
        h: left NONE c2-2=NONE nobody=UNKNOWN_MEMBER_ID
        > state
        g Empty gen=3 protocol=- leader=- members=[] pending=0
        > leave i c2-2
        i: left NONE c2-2=UNKNOWN_MEMBER_ID
        > leave j c2-2 group=none
        j: left NONE c2-2=UNKNOWN_MEMBER_ID
        > leave k c2-2 group=
        k: left INVALID_GROUP_ID
        ",
    );
}

#[test]
fn sync_is_refused_to_strangers_and_the_confused() {
    check(
        "
        > sync a nobody gen=1
        a: UNKNOWN_MEMBER_ID
        > join b c1 v=3
        + group g gen=0 []
        b: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync c nobody gen=1
        c: UNKNOWN_MEMBER_ID
        > sync d c1-1 gen=7
        d: ILLEGAL_GENERATION
        > sync e c1-1 gen=1 protocol=sticky
        e: INCONSISTENT_GROUP_PROTOCOL
        > sync f c1-1 gen=1 type=connect
        f: INCONSISTENT_GROUP_PROTOCOL
        > sync g c1-1 gen=1 instance=i
        g: UNKNOWN_MEMBER_ID
        > sync h c1-1 gen=1 group=
        h: INVALID_GROUP_ID
        > sync i c1-1 gen=1 protocol=range type=consumer assign=c1-1:x
        + group g gen=1 [c1-1:x]
        i: assigned x
        > beat j nobody gen=1
        j: UNKNOWN_MEMBER_ID
        > beat k c1-1 gen=2
        k: ILLEGAL_GENERATION
        > beat l c1-1 gen=1 group=
        l: INVALID_GROUP_ID
        ",
    );
}

#[test]
fn group_size_is_limited() {
    check(
        "
        > max-size 2
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > join b c2 v=3
        > join c c3 v=3
        c: GROUP_MAX_SIZE_REACHED member=
        > wait 6000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > join d c4 v=3
        d: GROUP_MAX_SIZE_REACHED member=
        > join e c1 member=c1-1
        e: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        > state
        g CompletingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        ",
    );
}

#[test]
fn group_over_a_lowered_size_sheds_its_last_members() {
    check(
        "
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > join b c2 v=3
        > wait 6000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync c c1-1 gen=1 assign=c1-1:x,c2-2:y
        + group g gen=1 [c1-1:x c2-2:y]
        c: assigned x
        > max-size 1
        > state
        g PreparingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        > join d c2 member=c2-2
        > join e c1 member=c1-1
        e: GROUP_MAX_SIZE_REACHED member=
        > wait 60000
        d: joined gen=2 protocol=range member=c2-2 leader=c2-2 members=[c2-2]
        > state
        g CompletingRebalance gen=2 protocol=range leader=c2-2 members=[c2-2] pending=0
        ",
    );
}

#[test]
fn request_that_waits_twice_is_told_to_try_again() {
    check(
        "
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > join c c2 v=3
        > join d c2 member=c2-2
        c: REBALANCE_IN_PROGRESS member=c2-2
        > join e c1 member=c1-1
        e: joined gen=2 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        d: joined gen=2 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync f c2-2 gen=2
        > sync g c2-2 gen=2
        f: REBALANCE_IN_PROGRESS
        > sync h c1-1 gen=2 assign=c2-2:y
        + group g gen=2 [c1-1: c2-2:y]
        h: assigned 
        g: assigned y
        ",
    );
}
