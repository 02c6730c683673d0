use super::check;

#[test]
fn restarted_static_member_keeps_its_assignment_without_a_rebalance() {
    check(
        "
        > delay 3000
        > join a c1 instance=one
        + group g gen=0 []
        > join b c2 instance=two
        > wait 6000
        a: joined gen=1 protocol=range member=one-1 leader=one-1 members=[one-1 two-2]
        b: joined gen=1 protocol=range member=two-2 leader=one-1 members=[]
        > sync c one-1 gen=1 instance=one assign=one-1:x,two-2:y
        + group g gen=1 [one-1:x two-2:y]
        c: assigned x
        > sync d two-2 gen=1 instance=two
        d: assigned y
        > join e c2 instance=two
        + group g gen=1 [one-1:x two-3:y]
        e: joined gen=1 protocol=range member=two-3 leader=one-1 members=[]
        > sync f two-3 gen=1 instance=two
        f: assigned y
        > beat g two-2 gen=1 instance=two
        g: FENCED_INSTANCE_ID
        > beat h two-2 gen=1
        h: UNKNOWN_MEMBER_ID
        > beat i two-3 gen=1 instance=two
        i: NONE
        > state
        g Stable gen=1 protocol=range leader=one-1 members=[one-1 two-3] pending=0
        > restart
        > state
        g Stable gen=1 protocol=range leader=one-1 members=[one-1 two-3] pending=0
        > beat j two-3 gen=1 instance=two
        j: NONE
        ",
    );
}

#[test]
fn restarted_static_leader_need_not_assign() {
    check(
        "
        > join a c1 instance=one
        + group g gen=0 []
        a: joined gen=1 protocol=range member=one-1 leader=one-1 members=[one-1]
        > sync b one-1 gen=1 assign=one-1:x
        + group g gen=1 [one-1:x]
        b: assigned x
        > join c c1 instance=one v=9
        + group g gen=1 [one-2:x]
        c: joined gen=1 protocol=range member=one-2 leader=one-2 members=[one-2] skip-assignment
        > sync d one-2 gen=1
        d: assigned x
        > join e c1 instance=one v=7
        + group g gen=1 [one-3:x]
        e: joined gen=1 protocol=range member=one-3 leader=one-2 members=[]
        > sync f one-3 gen=1
        f: assigned x
        ",
    );
}

#[test]
fn static_member_whose_protocols_change_the_choice_rebalances() {
    check(
        "
        > join a c1 instance=one protocols=range,sticky
        + group g gen=0 []
        a: joined gen=1 protocol=range member=one-1 leader=one-1 members=[one-1]
        > sync b one-1 gen=1 assign=one-1:x
        + group g gen=1 [one-1:x]
        b: assigned x
        > join c c1 instance=one protocols=sticky,range
        c: joined gen=2 protocol=sticky member=one-2 leader=one-2 members=[one-2]
        > state
        g CompletingRebalance gen=2 protocol=sticky leader=one-2 members=[one-2] pending=0
        ",
    );
}

#[test]
fn static_member_that_comes_back_during_sync_starts_again() {
    check(
        "
        > delay 3000
        > join a c1 instance=one
        + group g gen=0 []
        > join b c2 instance=two
        > wait 6000
        a: joined gen=1 protocol=range member=one-1 leader=one-1 members=[one-1 two-2]
        b: joined gen=1 protocol=range member=two-2 leader=one-1 members=[]
        > sync c two-2 gen=1 instance=two
        > join d c2 instance=two
        c: FENCED_INSTANCE_ID
        > join e c1 member=one-1 instance=one
        e: joined gen=2 protocol=range member=one-1 leader=one-1 members=[one-1 two-3]
        d: joined gen=2 protocol=range member=two-3 leader=one-1 members=[]
        > state
        g CompletingRebalance gen=2 protocol=range leader=one-1 members=[one-1 two-3] pending=0
        ",
    );
}

#[test]
fn static_member_that_comes_back_while_its_former_self_waits_fences_it() {
    check(
        "
        > delay 3000
        > join a c1 instance=one
        + group g gen=0 []
        > join b c1 instance=one
        a: FENCED_INSTANCE_ID member=one-1
        > wait 3000
        b: joined gen=1 protocol=range member=one-2 leader=one-2 members=[one-2]
        > join c c1 member=one-1 instance=one
        c: FENCED_INSTANCE_ID member=one-1
        > join d c1 member=one-2 instance=other
        d: UNKNOWN_MEMBER_ID member=one-2
        ",
    );
}

#[test]
fn static_member_does_not_lose_its_place_at_the_rebalance_timeout() {
    check(
        "
        > delay 3000
        > join a c1 instance=one session=300000
        + group g gen=0 []
        > join b c2 v=3
        > wait 6000
        b: joined gen=1 protocol=range member=c2-2 leader=one-1 members=[]
        a: joined gen=1 protocol=range member=one-1 leader=one-1 members=[c2-2 one-1]
        > sync c one-1 gen=1 assign=one-1:x,c2-2:y
        + group g gen=1 [c2-2:y one-1:x]
        c: assigned x
        > sync d c2-2 gen=1
        d: assigned y
        > wait 9000
        > beat e c2-2 gen=1
        e: NONE
        > join f c2 member=c2-2 topics=u
        > wait 60000
        f: joined gen=2 protocol=range member=c2-2 leader=c2-2 members=[c2-2 one-1]
        > state
        g CompletingRebalance gen=2 protocol=range leader=c2-2 members=[c2-2 one-1] pending=0
        > sync g c2-2 gen=2 assign=c2-2:y,one-1:x
        + group g gen=2 [c2-2:y one-1:x]
        g: assigned y
        > beat h one-1 gen=2
        h: NONE
        ",
    );
}

#[test]
fn group_of_absent_static_members_waits_for_their_sessions() {
    check(
        "
        > join a c1 instance=one session=100000
        + group g gen=0 []
        a: joined gen=1 protocol=range member=one-1 leader=one-1 members=[one-1]
        > sync b one-1 gen=1 assign=one-1:x
        + group g gen=1 [one-1:x]
        b: assigned x
        > join c c2 v=3
        > leave d c2-2
        c: UNKNOWN_MEMBER_ID member=
        d: left NONE c2-2=NONE
        > wait 60000
        > state
        g PreparingRebalance gen=1 protocol=range leader=one-1 members=[one-1] pending=0
        > wait 40000
        + group g gen=2 []
        > state
        g Empty gen=2 protocol=- leader=- members=[] pending=0
        ",
    );
}

#[test]
fn administrator_removes_static_members_by_name() {
    check(
        "
        > join a c1 instance=one
        + group g gen=0 []
        a: joined gen=1 protocol=range member=one-1 leader=one-1 members=[one-1]
        > sync b one-1 gen=1 assign=one-1:x
        + group g gen=1 [one-1:x]
        b: assigned x
        > leave c @one @two
        + group g gen=2 []
        c: left NONE @one=NONE @two=UNKNOWN_MEMBER_ID
        > state
        g Empty gen=2 protocol=- leader=- members=[] pending=0
        ",
    );
}

#[test]
fn pending_member_is_never_static() {
    check(
        "
        > join a c1
        + group g gen=0 []
        a: MEMBER_ID_REQUIRED member=c1-1
        > join b c1 member=c1-1 instance=one
        b: UNKNOWN_MEMBER_ID member=c1-1
        > join c c1 member=c1-1
        c: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        ",
    );
}
