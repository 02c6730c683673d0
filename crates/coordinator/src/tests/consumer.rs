//! Consumer groups (KIP-848).

use super::check;

#[test]
fn members_join_are_assigned_and_give_partitions_up_before_others_get_them() {
    check(
        "
        > topics t:4
        > consumer 1 a
        g: member a [t]
        g: epoch 1
        g: target a [t0 t1 t2 t3]
        g: target epoch 1
        g: a at 1 [t0 t1 t2 t3]
        1: a at 1 has [t0 t1 t2 t3]
        > consumer 2 b
        g: member b [t]
        g: epoch 2
        g: target a [t0 t1]
        g: target b [t2 t3]
        g: target epoch 2
        g: b at 2 []
        2: b at 2 has []
        > consumer 3 a epoch=1
        g: a at 1 [t0 t1] gives [t2 t3]
        3: a at 1 has [t0 t1]
        > consumer 4 b epoch=2
        g: b at 2 []
        4: b at 2
        > consumer 5 a epoch=1 owned=t/0,t/1
        g: a at 2 [t0 t1]
        5: a at 2
        > consumer 6 b epoch=2
        g: b at 2 [t2 t3]
        6: b at 2 has [t2 t3]
        > state
        g Stable epoch=2/2 [a@2 b@2]
        ",
    );
}

#[test]
fn leaving_hands_partitions_on() {
    check(
        "
        > topics t:2
        > consumer 1 a
        g: member a [t]
        g: epoch 1
        g: target a [t0 t1]
        g: target epoch 1
        g: a at 1 [t0 t1]
        1: a at 1 has [t0 t1]
        > consumer 2 b
        g: member b [t]
        g: epoch 2
        g: target a [t0]
        g: target b [t1]
        g: target epoch 2
        g: b at 2 []
        2: b at 2 has []
        > consumer 3 a epoch=1 owned=t/0,t/1
        g: a at 1 [t0] gives [t1]
        3: a at 1 has [t0]
        > consumer 4 a epoch=1 owned=t/0
        g: a at 2 [t0]
        4: a at 2
        > consumer 5 b epoch=2
        g: b at 2 [t1]
        5: b at 2 has [t1]
        > consumer 6 a epoch=-1
        g: - a
        g: - target a
        g: - member a
        g: epoch 3
        6: a at -1
        > consumer 7 b epoch=2
        g: target b [t0 t1]
        g: target epoch 3
        g: b at 3 [t0 t1]
        7: b at 3 has [t0 t1]
        > consumer 8 b epoch=-1
        g: - b
        g: - target b
        g: - member b
        g: epoch 4
        8: b at -1
        > state
        g Empty epoch=4/3 []
        > list L
        L: listed g:consumer:Empty:consumer
        > delete D g
        g: - target epoch
        g: - metadata
        g: - epoch
        D: deleted g=NONE
        > restart
        > state
        ",
    );
}

#[test]
fn epochs_are_checked() {
    check(
        "
        > topics t:2
        > consumer 1 a
        g: member a [t]
        g: epoch 1
        g: target a [t0 t1]
        g: target epoch 1
        g: a at 1 [t0 t1]
        1: a at 1 has [t0 t1]
        > consumer 2 a epoch=2
        2: FENCED_MEMBER_EPOCH
        > consumer 3 b epoch=1
        3: UNKNOWN_MEMBER_ID
        > consumer 4 a epoch=0
        4: a at 1 has [t0 t1]
        > consumer 5 b
        g: member b [t]
        g: epoch 2
        g: target a [t0]
        g: target b [t1]
        g: target epoch 2
        g: b at 2 []
        5: b at 2 has []
        > consumer 6 a epoch=1 owned=t/0
        g: a at 2 [t0]
        6: a at 2 has [t0]
        > consumer 7 a epoch=1 owned=t/0
        7: a at 2
        > consumer 8 a epoch=1 owned=t/0,t/1
        8: FENCED_MEMBER_EPOCH
        > consumer 9 a epoch=1
        9: FENCED_MEMBER_EPOCH
        > consumer 10 a group=other epoch=1
        10: GROUP_ID_NOT_FOUND
        > consumer 11 a epoch=-3
        11: INVALID_REQUEST
        > consumer 12 a group=other epoch=-1
        12: GROUP_ID_NOT_FOUND
        > consumer 13 c assignor=best
        13: UNSUPPORTED_ASSIGNOR
        > consumer 14 c regex=(
        14: INVALID_REGULAR_EXPRESSION
        ",
    );
}

#[test]
fn commits_show_the_members_epoch() {
    check(
        "
        > topics t:2
        > consumer 1 a
        g: member a [t]
        g: epoch 1
        g: target a [t0 t1]
        g: target epoch 1
        g: a at 1 [t0 t1]
        1: a at 1 has [t0 t1]
        > commit c1 member=a gen=1 t/0@5
        + g t/0@5
        c1: committed t[0=NONE]
        > commit c2 member=a gen=2 t/0@6
        c2: committed t[0=STALE_MEMBER_EPOCH]
        > commit c3 member=b gen=1 t/0@6
        c3: committed t[0=UNKNOWN_MEMBER_ID]
        > commit c4 t/0@6
        c4: committed t[0=UNKNOWN_MEMBER_ID]
        > commit c5 member=a gen=1 v=8 t/0@6
        c5: committed t[0=UNSUPPORTED_VERSION]
        > consumer 2 b
        g: member b [t]
        g: epoch 2
        g: target a [t0]
        g: target b [t1]
        g: target epoch 2
        g: b at 2 []
        2: b at 2 has []
        > consumer 3 a epoch=1 owned=t/0
        g: a at 2 [t0]
        3: a at 2 has [t0]
        > commit c6 member=a gen=1 t/0@7
        + g t/0@7
        c6: committed t[0=NONE]
        > commit c7 member=a gen=1 t/1@7
        c7: committed t[1=STALE_MEMBER_EPOCH]
        > fetch f1 member=a gen=2 t/0
        f1: offsets t/0@7
        > fetch f2 member=a gen=1 t/0
        f2: STALE_MEMBER_EPOCH
        > fetch f3 t/0
        f3: offsets t/0@7
        > drop-offsets d t/0
        d: dropped NONE t[0=GROUP_SUBSCRIBED_TO_TOPIC]
        > consumer 4 a epoch=-1
        g: - a
        g: - target a
        g: - member a
        g: epoch 3
        4: a at -1
        > consumer 5 b epoch=-1
        g: - b
        g: - target b
        g: - member b
        g: epoch 4
        5: b at -1
        > commit c8 t/0@8
        + g t/0@8
        c8: committed t[0=NONE]
        > drop-offsets d t/0
        - g t/0
        d: dropped NONE t[0=NONE]
        ",
    );
}

#[test]
fn silent_members_are_fenced() {
    check(
        "
        > topics t:2
        > consumer 1 a
        g: member a [t]
        g: epoch 1
        g: target a [t0 t1]
        g: target epoch 1
        g: a at 1 [t0 t1]
        1: a at 1 has [t0 t1]
        > consumer 2 b rebalance=10000
        g: member b [t]
        g: epoch 2
        g: target a [t0]
        g: target b [t1]
        g: target epoch 2
        g: b at 2 []
        2: b at 2 has []
        > wait 30000
        > consumer 3 b epoch=2
        g: b at 2 []
        3: b at 2
        > wait 16000
        g: - a
        g: - target a
        g: - member a
        g: epoch 3
        > consumer 4 b epoch=2
        g: target b [t0 t1]
        g: target epoch 3
        g: b at 3 [t0 t1]
        4: b at 3 has [t0 t1]
        > consumer 5 c
        g: member c [t]
        g: epoch 4
        g: target b [t0]
        g: target c [t1]
        g: target epoch 4
        g: c at 4 []
        5: c at 4 has []
        > consumer 6 b epoch=3
        g: b at 3 [t0] gives [t1]
        6: b at 3 has [t0]
        > wait 9000
        > consumer 7 b epoch=3
        7: b at 3
        > wait 2000
        g: - b
        g: - target b
        g: - member b
        g: epoch 5
        > consumer 8 b epoch=3
        8: UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn static_members_come_back() {
    check(
        "
        > topics t:2
        > consumer 1 a instance=i
        g: member a [t] @i
        g: epoch 1
        g: target a [t0 t1]
        g: target epoch 1
        g: a at 1 [t0 t1]
        1: a at 1 has [t0 t1]
        > consumer 2 b instance=i
        2: UNRELEASED_INSTANCE_ID
        > consumer 3 a instance=i epoch=-2
        g: a at -2 [t0 t1]
        3: a at -2
        > state
        g Reconciling epoch=1/1 [a@-2]
        > consumer 4 b instance=i
        g: - a
        g: - target a
        g: - member a
        g: member b [t] @i
        g: target b [t0 t1]
        g: b at 0 [t0 t1]
        g: b at 1 [t0 t1]
        4: b at 1 has [t0 t1]
        > consumer 5 a instance=i epoch=1
        5: FENCED_INSTANCE_ID
        > consumer 6 b instance=i epoch=1
        6: b at 1
        > restart
        > consumer 7 b instance=i epoch=-2
        g: b at -2 [t0 t1]
        7: b at -2
        > wait 46000
        g: - b
        g: - target b
        g: - member b
        g: epoch 2
        > state
        g Empty epoch=2/1 []
        ",
    );
}

#[test]
fn regular_expressions_follow_the_topics() {
    check(
        "
        > topics t:1 u:1 x:1
        > consumer 1 a regex=[tu]
        g: member a [] /[tu]/
        g: /[tu]/ is [t u]
        g: epoch 1
        g: target a [t0 u0]
        g: target epoch 1
        g: a at 1 [t0 u0]
        1: a at 1 has [t0 u0]
        > consumer 2 b regex=[tu] topics=x
        g: member b [x] /[tu]/
        g: epoch 2
        g: target b [x0]
        g: target epoch 2
        g: b at 2 [x0]
        2: b at 2 has [x0]
        > topics t:1 u:1 x:1 v:1
        > consumer 3 a epoch=1
        g: a at 2 [t0 u0]
        3: a at 2
        > topics t:1 u:2 x:1
        > consumer 4 a epoch=2
        g: epoch 3
        g: target b [u1 x0]
        g: target epoch 3
        g: a at 3 [t0 u0]
        4: a at 3
        > consumer 5 a epoch=2 full= regex=x topics= owned=
        g: member a [] /x/
        g: /x/ is [x]
        g: epoch 4
        g: target a [x0]
        g: target b [t0 u0 u1]
        g: target epoch 4
        g: a at 4 []
        5: a at 4 has []
        > consumer 6 b epoch=-1
        g: - b
        g: - target b
        g: - member b
        g: - /[tu]/
        g: epoch 5
        6: b at -1
        > consumer 7 a epoch=-1
        g: - a
        g: - target a
        g: - member a
        g: - /x/
        g: epoch 6
        7: a at -1
        ",
    );
}

#[test]
fn assignments_have_a_pause_between_them() {
    check(
        "
        > topics t:2
        > consumer 1 a interval=1000
        g: member a [t]
        g: epoch 1
        g: target a [t0 t1]
        g: target epoch 1
        g: a at 1 [t0 t1]
        1: a at 1 has [t0 t1]
        > consumer 2 b interval=1000
        g: member b [t]
        g: epoch 2
        g: b at 1 []
        2: b at 1 has []
        > state
        g Assigning epoch=2/1 [a@1 b@1]
        > wait 1000
        g: target a [t0]
        g: target b [t1]
        g: target epoch 2
        > state
        g Reconciling epoch=2/2 [a@1 b@1]
        > consumer 3 b epoch=0 interval=1000
        g: b at 2 []
        3: b at 2 has []
        > consumer-describe d g none
        d: described g Reconciling 2/2 uniform a@1 [t[0, 1]]->[t[0]]; b@2 []->[t[1]]; none GROUP_ID_NOT_FOUND
        ",
    );
}

#[test]
fn a_refused_join_leaves_nothing() {
    check(
        "
        > topics t:2
        > refuse COORDINATOR_NOT_AVAILABLE
        > consumer 1 a
        refused 5 records
        1: COORDINATOR_NOT_AVAILABLE
        > state
        > consumer 2 a
        g: member a [t]
        g: epoch 1
        g: target a [t0 t1]
        g: target epoch 1
        g: a at 1 [t0 t1]
        2: a at 1 has [t0 t1]
        > refuse COORDINATOR_NOT_AVAILABLE
        > consumer 3 b
        refused 6 records
        3: COORDINATOR_NOT_AVAILABLE
        > state
        g Stable epoch=1/1 [a@1]
        > max-consumers 1
        > consumer 4 b
        4: GROUP_MAX_SIZE_REACHED
        > consumer 5 a epoch=1
        5: a at 1
        ",
    );
}
