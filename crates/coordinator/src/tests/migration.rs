//! Groups that change between the classic and the consumer protocol.

use super::check;

#[test]
fn empty_groups_convert_both_ways() {
    check(
        "
        > topics t:1
        > commit c t/0@3
        + g t/0@3
        c: committed t[0=NONE]
        > consumer 1 a
        - group g
        g: member a [t]
        g: epoch 1
        g: target a [t0]
        g: target epoch 1
        g: a at 1 [t0]
        1: a at 1 has [t0]
        > fetch f t/0
        f: offsets t/0@3
        > consumer 2 a epoch=-1
        g: - a
        g: - target a
        g: - member a
        g: epoch 2
        2: a at -1
        > join j1 x
        g: - target epoch
        g: - metadata
        g: - epoch
        + group g gen=0 []
        j1: MEMBER_ID_REQUIRED member=x-3
        > join j2 x member=x-3
        j2: joined gen=1 protocol=range member=x-3 leader=x-3 members=[x-3]
        > restart
        > state
        g Empty gen=0 protocol=- leader=- members=[] pending=0
        > fetch f t/0
        f: offsets t/0@3
        ",
    );
}

#[test]
fn a_classic_group_is_upgraded_and_goes_back() {
    check(
        "
        > topics t:2
        > join j1 x v=3
        + group g gen=0 []
        j1: joined gen=1 protocol=range member=x-1 leader=x-1 members=[x-1]
        > sync s1 x-1 gen=1 assign=x-1:
        + group g gen=1 [x-1:]
        s1: assigned
        > consumer 1 a
        - group g
        g: member x-1 [t] classic
        g: epoch 1
        g: target x-1 []
        g: target epoch 1
        g: x-1 at 1 []
        g: member a [t]
        g: epoch 2
        g: target a [t0]
        g: target x-1 [t1]
        g: target epoch 2
        g: a at 2 [t0]
        1: a at 2 has [t0]
        > beat h1 x-1 gen=1
        h1: REBALANCE_IN_PROGRESS
        > join j2 x member=x-1
        g: x-1 at 2 [t1]
        j2: joined gen=2 protocol=range member=x-1 leader= members=[]
        > sync s2 x-1 gen=2
        s2: assigned <t/1>
        > consumer 2 a epoch=2
        2: a at 2
        > restart
        > state
        g Stable epoch=2/2 [a@2 x-1@2]
        > consumer 3 a epoch=-1
        g: - a
        g: - x-1
        g: - target a
        g: - target x-1
        g: - target epoch
        g: - member a
        g: - member x-1
        g: - metadata
        g: - epoch
        + group g gen=2 [x-1:<t/1>]
        3: a at -1
        > state
        g PreparingRebalance gen=2 protocol=range leader=x-1 members=[x-1] pending=0
        > beat h2 x-1 gen=2
        h2: REBALANCE_IN_PROGRESS
        > join j3 x member=x-1
        j3: joined gen=3 protocol=range member=x-1 leader=x-1 members=[x-1]
        ",
    );
}

#[test]
fn the_policy_is_kept() {
    check(
        "
        > topics t:2
        > policy disabled
        > join j1 x v=3
        + group g gen=0 []
        j1: joined gen=1 protocol=range member=x-1 leader=x-1 members=[x-1]
        > sync s1 x-1 gen=1
        + group g gen=1 [x-1:]
        s1: assigned
        > consumer 1 a
        1: GROUP_ID_NOT_FOUND
        > state
        g Stable gen=1 protocol=range leader=x-1 members=[x-1] pending=0
        > consumer 2 a group=h
        h: member a [t]
        h: epoch 1
        h: target a [t0 t1]
        h: target epoch 1
        h: a at 1 [t0 t1]
        2: a at 1 has [t0 t1]
        > join j2 y group=h v=3
        j2: INCONSISTENT_GROUP_PROTOCOL member=
        > policy upgrade
        > consumer 3 a
        - group g
        g: member x-1 [t] classic
        g: epoch 1
        g: target x-1 []
        g: target epoch 1
        g: x-1 at 1 []
        g: member a [t]
        g: epoch 2
        g: target a [t0]
        g: target x-1 [t1]
        g: target epoch 2
        g: a at 2 [t0]
        3: a at 2 has [t0]
        > consumer 4 a epoch=-1
        g: - a
        g: - target a
        g: - member a
        g: epoch 3
        4: a at -1
        > state
        g Assigning epoch=3/2 [x-1@1]
        h Stable epoch=1/1 [a@1]
        ",
    );
}

/// Administrators remove members with LeaveGroup, whichever protocol the member speaks.
#[test]
fn administrators_remove_members_of_the_consumer_protocol() {
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
        > consumer 2 b
        g: member b [t]
        g: epoch 2
        g: target a [t0]
        g: target b [t1]
        g: target epoch 2
        g: b at 2 []
        2: b at 2 has []
        > consumer 3 a instance=i epoch=-2
        g: a at -2 [t0 t1]
        3: a at -2
        > leave l1 @i b
        g: - a
        g: - target a
        g: - member a
        g: - b
        g: - target b
        g: - member b
        g: epoch 3
        l1: left NONE @i=NONE b=NONE
        > leave l2 @i b
        l2: left NONE @i=UNKNOWN_MEMBER_ID b=UNKNOWN_MEMBER_ID
        > state
        g Empty epoch=3/2 []
        ",
    );
}

#[test]
fn classic_members_of_a_consumer_group_leave_and_time_out() {
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
        > join j1 x
        j1: MEMBER_ID_REQUIRED member=2
        > join j2 x member=2
        g: member 2 [t] classic
        g: epoch 2
        g: target 2 [t1]
        g: target a [t0]
        g: target epoch 2
        g: 2 at 2 []
        j2: joined gen=2 protocol=range member=2 leader= members=[]
        > sync s1 2 gen=2
        s1: assigned <>
        > beat h1 2 gen=1
        h1: ILLEGAL_GENERATION
        > beat h2 2 gen=2
        h2: NONE
        > consumer 9 a epoch=1 owned=t/0
        g: a at 2 [t0]
        9: a at 2 has [t0]
        > beat h3 2 gen=2
        h3: REBALANCE_IN_PROGRESS
        > join j4 x member=2
        g: 2 at 2 [t1]
        j4: joined gen=2 protocol=range member=2 leader= members=[]
        > sync s2 2 gen=2
        s2: assigned <t/1>
        > leave l1 2
        g: - 2
        g: - target 2
        g: - member 2
        g: epoch 3
        l1: left NONE 2=NONE
        > state
        g Assigning epoch=3/2 [a@2]
        > join j3 y v=3 rebalance=5000
        g: member 6 [t] classic
        g: epoch 4
        g: target 6 [t1]
        g: target epoch 4
        g: 6 at 4 [t1]
        j3: joined gen=4 protocol=range member=6 leader= members=[]
        > wait 6000
        g: - 6
        g: - target 6
        g: - member 6
        g: epoch 5
        > state
        g Assigning epoch=5/4 [a@2]
        > consumer 2 a epoch=-1
        g: - a
        g: - target a
        g: - member a
        g: epoch 6
        2: a at -1
        > state
        g Empty epoch=6/4 []
        ",
    );
}

#[test]
fn a_static_member_brings_its_place_along() {
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
        > join j1 x instance=i v=9
        g: - a
        g: - target a
        g: - member a
        g: member 2 [t] @i
        g: target 2 [t0 t1]
        g: 2 at 0 [t0 t1]
        g: member 2 [t] @i classic
        g: 2 at 1 [t0 t1]
        g: - 2
        g: - target 2
        g: - target epoch
        g: - member 2
        g: - metadata
        g: - epoch
        + group g gen=1 [2:<t/0 t/1>]
        j1: joined gen=1 protocol=range member=2 leader= members=[]
        > state
        g Stable gen=1 protocol=range leader=2 members=[2] pending=0
        > sync s1 2 gen=1 instance=i
        s1: assigned <t/0 t/1>
        > join j2 x instance=i member=2
        j2: joined gen=2 protocol=range member=2 leader=2 members=[2]
        ",
    );
}
