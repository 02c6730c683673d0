use super::check;

#[test]
fn consumer_without_membership_commits_and_fetches() {
    check(
        "
        > fetch a t/0
        a: offsets t/0@none
        > commit b t/0@5 t/1@7 epoch=3 meta=hello
        + g t/0@5 epoch=3 meta=hello
        + g t/1@7 epoch=3 meta=hello
        b: committed t[0=NONE] t[1=NONE]
        > fetch c t/0 t/1 t/2
        c: offsets t/0@5 epoch=3 meta=hello t/1@7 epoch=3 meta=hello t/2@none
        > fetch d
        d: offsets t/0@5 epoch=3 meta=hello t/1@7 epoch=3 meta=hello
        > commit e t/0@6
        + g t/0@6
        e: committed t[0=NONE]
        > fetch f t/0
        f: offsets t/0@6
        > fetch g group=other
        g: offsets
        > state
        g Empty gen=0 protocol=- leader=- members=[] pending=0
        > restart
        > fetch h
        h: offsets t/0@6 t/1@7 epoch=3 meta=hello
        > state
        g Empty gen=0 protocol=- leader=- members=[] pending=0
        ",
    );
}

#[test]
fn member_commits_in_its_generation_only() {
    check(
        "
        > commit a member=c1-1 gen=1 t/0@5
        a: committed t[0=GROUP_ID_NOT_FOUND]
        > commit b member=c1-1 gen=1 v=8 t/0@5
        b: committed t[0=ILLEGAL_GENERATION]
        > join c c1 v=3
        + group g gen=0 []
        c: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > commit d member=c1-1 gen=1 t/0@5
        d: committed t[0=REBALANCE_IN_PROGRESS]
        > sync e c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        e: assigned x
        > commit f member=c1-1 gen=1 t/0@5
        + g t/0@5
        f: committed t[0=NONE]
        > commit g member=c1-1 gen=0 t/0@6
        g: committed t[0=ILLEGAL_GENERATION]
        > commit h member=nobody gen=1 t/0@6
        h: committed t[0=UNKNOWN_MEMBER_ID]
        > commit i t/0@6
        i: committed t[0=UNKNOWN_MEMBER_ID]
        > commit j member=c1-1 gen=-1 t/0@6
        j: committed t[0=ILLEGAL_GENERATION]
        > commit k member=c1-1 instance=one gen=1 t/0@6
        k: committed t[0=UNKNOWN_MEMBER_ID]
        > join l c2 v=3
        > commit m member=c1-1 gen=1 t/0@7
        + g t/0@7
        m: committed t[0=NONE]
        > fetch n
        n: offsets t/0@7
        ",
    );
}

#[test]
fn commit_keeps_the_session_alive() {
    check(
        "
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > wait 9000
        > commit c member=c1-1 gen=1 t/0@1
        + g t/0@1
        c: committed t[0=NONE]
        > wait 9000
        > beat d c1-1 gen=1
        d: NONE
        ",
    );
}

#[test]
fn metadata_is_limited() {
    let long = "m".repeat(4097);
    let fits = "m".repeat(4096);
    check(&format!(
        "
        > commit a t/0@1 meta={long}
        a: committed t[0=OFFSET_METADATA_TOO_LARGE]
        > commit b t/0@1 meta={fits}
        + g t/0@1 meta={fits}
        b: committed t[0=NONE]
        "
    ));
}

#[test]
fn fetch_tells_nothing_that_is_not_durable() {
    check(
        "
        > commit a t/0@5
        + g t/0@5
        a: committed t[0=NONE]
        > hold
        > commit b t/0@6
        + g t/0@6
        > fetch c t/0
        > describe d g
        > durable
        b: committed t[0=NONE]
        c: offsets t/0@6
        d: described g NONE Empty / []
        > fetch e t/0
        e: offsets t/0@6
        ",
    );
}

#[test]
fn offset_of_a_topic_made_anew_is_not_given_out() {
    check(
        "
        > commit a t/0@5 id=1
        + g t/0@5
        a: committed t[0=NONE]
        > fetch b t/0 id=1
        b: offsets t/0@5
        > fetch c t/0 id=2
        c: offsets t/0@none
        > fetch d t/0
        d: offsets t/0@5
        > restart
        > fetch e t/0 id=2
        e: offsets t/0@none
        > fetch f t/0 id=1
        f: offsets t/0@5
        ",
    );
}

#[test]
fn offsets_of_deleted_topics_go() {
    check(
        "
        > commit a t/0@5 t/1@5 u/0@5
        + g t/0@5
        + g t/1@5
        + g u/0@5
        a: committed t[0=NONE] t[1=NONE] u[0=NONE]
        > commit b t/0@5 group=h
        + h t/0@5
        b: committed t[0=NONE]
        > topics-deleted t v
        - g t/0
        - g t/1
        - h t/0
        > fetch c
        c: offsets u/0@5
        ",
    );
}

#[test]
fn offsets_in_use_are_not_dropped() {
    check(
        "
        > join a c1 v=3 topics=t
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > commit c member=c1-1 gen=1 t/0@5 u/0@6
        + g t/0@5
        + g u/0@6
        c: committed t[0=NONE] u[0=NONE]
        > drop-offsets d t/0 u/0 u/1
        - g u/0
        d: dropped NONE t[0=GROUP_SUBSCRIBED_TO_TOPIC] u[0=NONE 1=NONE]
        > leave e c1-1
        + group g gen=2 []
        e: left NONE c1-1=NONE
        > drop-offsets f t/0
        - g t/0
        f: dropped NONE t[0=NONE]
        > drop-offsets g t/0 group=none
        g: dropped GROUP_ID_NOT_FOUND
        > fetch h
        h: offsets
        > join i c2 v=3 type=connect group=k
        + group k gen=0 []
        i: joined gen=1 protocol=range member=c2-2 leader=c2-2 members=[c2-2]
        > drop-offsets j t/0 group=k
        j: dropped NON_EMPTY_GROUP
        ",
    );
}

#[test]
fn offsets_expire_when_the_group_is_empty_for_the_retention_time() {
    check(
        "
        > join a c1 v=3 session=1800000
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > commit c member=c1-1 gen=1 t/0@5
        + g t/0@5
        c: committed t[0=NONE]
        > wait 1000000
        > leave d c1-1
        + group g gen=2 []
        d: left NONE c1-1=NONE
        > wait 604400000
        > fetch e
        e: offsets t/0@5
        > wait 600000
        - g t/0
        - group g
        > fetch f
        f: offsets
        > state
        ",
    );
}

#[test]
fn offsets_of_a_simple_group_expire_after_the_commit() {
    check(
        "
        > commit a t/0@5
        + g t/0@5
        a: committed t[0=NONE]
        > wait 300000000
        > commit b t/1@5
        + g t/1@5
        b: committed t[1=NONE]
        > wait 304800000
        - g t/0
        > fetch c
        c: offsets t/1@5
        > wait 300000000
        - g t/1
        - group g
        > state
        ",
    );
}

#[test]
fn topics_no_longer_subscribed_expire_while_the_group_lives() {
    check(
        "
        > join a c1 v=3 topics=t session=1800000
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > sync b c1-1 gen=1 assign=c1-1:x
        + group g gen=1 [c1-1:x]
        b: assigned x
        > commit c member=c1-1 gen=1 t/0@5 u/0@6 retention=600000
        + g t/0@5
        + g u/0@6
        c: committed t[0=NONE] u[0=NONE]
        > beat d c1-1 gen=1
        d: NONE
        > wait 1200000
        - g u/0
        > fetch e
        e: offsets t/0@5
        ",
    );
}

#[test]
fn empty_group_without_offsets_goes_at_the_next_check() {
    check(
        "
        > join a c1 v=3
        + group g gen=0 []
        a: joined gen=1 protocol=range member=c1-1 leader=c1-1 members=[c1-1]
        > leave b c1-1
        + group g gen=2 []
        b: left NONE c1-1=NONE
        > state
        g Empty gen=2 protocol=- leader=- members=[] pending=0
        > wait 600000
        - group g
        > state
        ",
    );
}
