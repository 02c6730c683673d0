use super::check;

#[test]
fn refused_commit_changes_nothing() {
    check(
        "
        > commit a t/0@5
        + g t/0@5
        a: committed t[0=NONE]
        > refuse KAFKA_STORAGE_ERROR
        > commit b t/0@6
        refused 1 records
        b: committed t[0=KAFKA_STORAGE_ERROR]
        > fetch c
        c: offsets t/0@5
        ",
    );
}

#[test]
fn refused_first_record_unmakes_the_group() {
    check(
        "
        > refuse COORDINATOR_NOT_AVAILABLE
        > join a c1 v=3
        refused 1 records
        a: COORDINATOR_NOT_AVAILABLE member=
        > state
        > refuse COORDINATOR_NOT_AVAILABLE
        > join b c1
        refused 1 records
        b: MEMBER_ID_REQUIRED member=c1-2
        > join c c1 member=c1-2
        c: UNKNOWN_MEMBER_ID member=c1-2
        > state
        ",
    );
}

#[test]
fn refused_assignment_rebalances() {
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
        > refuse NOT_COORDINATOR
        > sync d c1-1 gen=1 assign=c1-1:x
        refused 1 records
        d: NOT_COORDINATOR
        c: NOT_COORDINATOR
        > state
        g PreparingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        ",
    );
}

#[test]
fn assignment_is_handed_out_when_durable_and_only_in_its_generation() {
    check(
        "
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > join b c2 v=3
        > wait 6000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        b: joined gen=1 protocol=range member=c2-2 leader=c1-1 members=[]
        > hold
        > sync c c1-1 gen=1 assign=c1-1:x,c2-2:y
        + group g gen=1 [c1-1:x c2-2:y]
        > state
        g CompletingRebalance gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        > sync d c2-2 gen=1
        > durable
        c: assigned x
        d: assigned y
        > state
        g Stable gen=1 protocol=range leader=c1-1 members=[c1-1 c2-2] pending=0
        > hold
        > join e c1 member=c1-1
        > join f c2 member=c2-2
        e: joined gen=2 protocol=range member=c1-1 leader=c1-1 members=[c1-1 c2-2]
        f: joined gen=2 protocol=range member=c2-2 leader=c1-1 members=[]
        > sync g c1-1 gen=2 assign=c1-1:x
        + group g gen=2 [c1-1:x c2-2:]
        > join h c3 v=3
        g: REBALANCE_IN_PROGRESS
        > durable
        > state
        g PreparingRebalance gen=2 protocol=range leader=c1-1 members=[c1-1 c2-2 c3-5] pending=0
        ",
    );
}

#[test]
fn refused_static_replacement_is_undone() {
    check(
        "
        > join a c1 instance=one
        + group g gen=0 []
        a: joined gen=1 protocol=range member=one-1 leader=one-1 members=[one-1]
        > sync b one-1 gen=1 assign=one-1:x
        + group g gen=1 [one-1:x]
        b: assigned x
        > refuse NOT_COORDINATOR
        > join c c1 instance=one
        refused 1 records
        c: NOT_COORDINATOR member=
        > state
        g Stable gen=1 protocol=range leader=one-1 members=[one-1] pending=0
        > beat d one-1 gen=1 instance=one
        d: NONE
        > sync e one-1 gen=1 instance=one
        e: assigned x
        ",
    );
}

#[test]
fn refused_deletion_leaves_the_group() {
    check(
        "
        > commit a t/0@5
        + g t/0@5
        a: committed t[0=NONE]
        > refuse COORDINATOR_NOT_AVAILABLE
        > delete b g none
        refused 2 records
        b: deleted g=COORDINATOR_NOT_AVAILABLE none=GROUP_ID_NOT_FOUND
        > fetch c
        c: offsets t/0@5
        ",
    );
}

#[test]
fn text_too_long_for_the_format_is_refused_not_stored() {
    let long = "g".repeat(40_000);
    check(&format!(
        "
        > commit a t/0@1 group={long}
        a: committed t[0=UNKNOWN_SERVER_ERROR]
        > state
        > join b c1 v=3 group={long}
        b: UNKNOWN_SERVER_ERROR member=
        > state
        "
    ));
}

#[test]
fn assignment_of_a_deleted_group_does_not_reach_its_namesake() {
    check(
        "
        > hold
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:old
        + group g gen=1 [c1-1:old]
        > leave c c1-1
        + group g gen=2 []
        b: UNKNOWN_MEMBER_ID
        > delete d g
        - group g
        > join e c2 v=3
        + group g gen=0 []
        e: joined gen=1 protocol=range member=c2-2 leader=c2-2 members=[c2-2]
        > durable
        c: left NONE c1-1=NONE
        d: deleted g=NONE
        > state
        g CompletingRebalance gen=1 protocol=range leader=c2-2 members=[c2-2] pending=0
        ",
    );
}

#[test]
fn leader_that_repeats_its_sync_does_not_assign_twice() {
    check(
        "
        > hold
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:first
        + group g gen=1 [c1-1:first]
        > sync c c1-1 gen=1 assign=c1-1:second
        b: REBALANCE_IN_PROGRESS
        > durable
        c: assigned first
        ",
    );
}
