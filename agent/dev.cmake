# SPDX-License-Identifier: Apache-2.0
# The device plane. ls_sim_client: for the agent and for test VMMs. ls_agent_dev: providers, worker, streams.
# lockstep-simhost: a simulated host.
set(dev ${CMAKE_CURRENT_LIST_DIR})

add_library(ls_sim_client STATIC ${dev}/sim/sim_client.c ${dev}/sim/sim_call.c)
target_link_libraries(ls_sim_client PUBLIC Threads::Threads)

add_executable(lockstep-simhost ${dev}/sim/simhost.c ${dev}/sim/simwire.c ${dev}/sim/simlock.c ${dev}/sim/simdev.c
               ${dev}/sim/simdma.c ${dev}/sim/simconfig.c ${dev}/sim/simarc.c ${dev}/sim/simsession.c
               ${dev}/sim/simserve.c ${dev}/sim/simdebug.c ${dev}/sim/simwitness.c)
target_link_libraries(lockstep-simhost PRIVATE ls_sim_client lsm ls_common Threads::Threads)

add_library(ls_agent_dev STATIC ${dev}/provider.c ${dev}/vfio.c ${dev}/vfio_open.c ${dev}/vfio_cdev.c
            ${dev}/vfio_give.c ${dev}/vfio_holder.c ${dev}/vfio_sysfs.c ${dev}/sim/sim.c ${dev}/worker.c ${dev}/worker_arc.c ${dev}/worker_send.c ${dev}/worker_load.c ${dev}/stream.c
            ${dev}/stream_dial.c ${dev}/chan.c)
target_link_libraries(ls_agent_dev PUBLIC ls_sim_client ls_common ls_rpc ls_wire PkgConfig::UV PkgConfig::NUMA
                      Threads::Threads)
