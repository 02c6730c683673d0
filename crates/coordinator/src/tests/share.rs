//! Membership of share groups (KIP-932).

use super::check;

#[test]
fn members_share_partitions_without_giving_up_first() {
    check(
        "
        > topics t:2
        > share 1 a
        g: member a [t]
        g: epoch 1
        g: share state
        g: target a [t0 t1]
        g: target epoch 1
        g: a at 1 [t0 t1]
        1: a at 1 has [t0 t1]
        > share 2 b
        g: member b [t]
        g: epoch 2
        g: target a [t0]
        g: target b [t1]
        g: target epoch 2
        g: b at 2 [t1]
        2: b at 2 has [t1]
        > share 3 a epoch=1
        g: a at 2 [t0]
        3: a at 2 has [t0]
        > share 4 c
        g: member c [t]
        g: epoch 3
        g: target c [t0]
        g: target epoch 3
        g: c at 3 [t0]
        4: c at 3 has [t0]
        > share 5 a epoch=1
        g: a at 3 [t0]
        5: a at 3 has [t0]
        > restart
        > share-describe d g
        d: described g Stable 3/3 simple a@3 [t[0]]->[t[0]]; b@2 [t[1]]->[t[1]]; c@3 [t[0]]->[t[0]]
        > list l
        l: listed g:share:Stable:share
        > consumer 6 x
        6: GROUP_ID_NOT_FOUND
        > join 7 x
        7: INCONSISTENT_GROUP_PROTOCOL member=
        > commit 8 t/0@1
        8: committed t[0=GROUP_ID_NOT_FOUND]
        > share 9 a epoch=-1
        g: - a
        g: - target a
        g: - member a
        g: epoch 4
        9: a at -1
        > share 10 b epoch=-1
        g: - b
        g: - target b
        g: - member b
        g: epoch 5
        10: b at -1
        > share 11 c epoch=-1
        g: - c
        g: - target c
        g: - member c
        g: epoch 6
        11: c at -1
        > delete 12 g
        g: - target epoch
        g: share state
        g: - epoch
        12: deleted g=NONE
        > state
        ",
    );
}
