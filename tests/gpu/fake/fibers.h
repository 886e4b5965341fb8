// Runs kernels on the CPU: what the driver asks of the scheduler.
#pragma once
#include "contract.h"

#include <string>

namespace kiln_fake {

struct Launch {
    const Kernel* kernel;
    Index grid, block;
    unsigned dynamic_shared_bytes;
    void** arguments;
    // Chooses the order of blocks and threads; 0 takes them as they are numbered.
    unsigned long long seed;
};

enum class Outcome { Done, Failed, BadAddress };

// Runs every block. If the kernel fails, `why` says where. One launch runs at a time: the caller sees to it.
Outcome run(const Launch& launch, std::string& why);

}  // namespace kiln_fake
