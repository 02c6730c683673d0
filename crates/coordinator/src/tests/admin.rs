use super::check;

#[test]
fn groups_are_described_and_listed() {
    check(
        "
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > commit c t/0@1 group=simple
        + simple t/0@1
        c: committed t[0=NONE]
        > join d c2 v=3 group=k type=connect
        + group k gen=0 []
        d: joined gen=1 protocol=range member=c2-2 leader=c2-2 members=[c2-2]
        > describe e g simple k none
        e: described g NONE Stable consumer/range [c1-1:13:x]; simple NONE Empty / []; k NONE CompletingRebalance connect/ [c2-2:0:]; none GROUP_ID_NOT_FOUND Dead / []
        > list f
        f: listed g:consumer:Stable:classic k:connect:CompletingRebalance:classic simple::Empty:classic
        > list g states=stable
        g: listed g:consumer:Stable:classic
        > list h states=Empty,Completingrebalance
        h: listed k:connect:CompletingRebalance:classic simple::Empty:classic
        > list i types=Classic
        i: listed g:consumer:Stable:classic k:connect:CompletingRebalance:classic simple::Empty:classic
        > list j types=consumer
        j: listed
        ",
    );
}

#[test]
fn only_empty_groups_are_deleted() {
    check(
        "
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > commit c member=c1-1 gen=1 t/0@5 t/1@6
        + g t/0@5
        + g t/1@6
        c: committed t[0=NONE] t[1=NONE]
        > delete d g none
        d: deleted g=NON_EMPTY_GROUP none=GROUP_ID_NOT_FOUND
        > leave e c1-1
        + group g gen=2 []
        e: left NONE c1-1=NONE
        > delete f g g
        - g t/0
        - g t/1
        - group g
        f: deleted g=NONE g=GROUP_ID_NOT_FOUND
        > state
        > fetch g
        g: offsets
        > restart
        > state
        > fetch h
        h: offsets
        ",
    );
}

#[test]
fn commit_before_a_deletion_does_not_outlive_it() {
    check(
        "
        > hold
        > commit a t/0@5
        + g t/0@5
        > delete b g
        - g t/0
        - group g
        > fetch c
        > durable
        a: committed t[0=NONE]
        b: deleted g=NONE
        c: offsets
        > restart
        > fetch d
        d: offsets
        ",
    );
}

#[test]
fn unloading_answers_all_who_wait() {
    check(
        "
        > delay 3000
        > join a c1 v=3
        + group g gen=0 []
        > join b c2 v=3 group=h
        + group h gen=0 []
        > wait 3000
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        b: joined gen=1 protocol=range member=c2-2 leader=c2-2 members=[c2-2]
        > join c c3 v=3
        > unload
        c: NOT_COORDINATOR member=c3-3
        ",
    );
}
